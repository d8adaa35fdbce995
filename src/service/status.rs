//! The one table from error kind to exit code. Services add their columns here, so that
//! nobody maps an error twice.

use crate::core::error::Kind;

/// The process's exit code for a kind of error. Codes below 64 mean what they mean
/// everywhere; from 64 on they follow sysexits.h as far as it goes.
#[must_use]
pub fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::InvalidArgument => 64,
        Kind::DigestMismatch | Kind::InvalidContent | Kind::Unsupported => 65,
        Kind::NotFound => 66,
        Kind::NoMatchingPlatform | Kind::PlatformMismatch => 67,
        Kind::RegistryUnavailable | Kind::StoreUnavailable => 69,
        Kind::Internal => 70,
        Kind::StoreInvalid => 73,
        Kind::StoreFull | Kind::StoreFailed => 74,
        Kind::RateLimited | Kind::DeadlineExceeded => 75,
        Kind::TlsUntrusted => 76,
        Kind::Unauthenticated | Kind::PermissionDenied => 77,
        Kind::InvalidConfiguration => 78,
        Kind::Cancelled => 130,
    }
}
