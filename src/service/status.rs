//! The one table from error kind to exit code, gRPC code and HTTP status. Services add their
//! columns here, so that nobody maps an error twice.

use http::StatusCode;
#[cfg(feature = "containerd")]
use tonic::Code;

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

/// The gRPC code of a call that failed with this kind of error: what a program should make of it.
/// Retrying helps for `UNAVAILABLE`, `RESOURCE_EXHAUSTED` and `DEADLINE_EXCEEDED` only.
#[cfg(feature = "containerd")]
#[must_use]
pub fn grpc_code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound | Kind::NoMatchingPlatform => Code::NotFound,
        Kind::InvalidConfiguration | Kind::PlatformMismatch | Kind::TlsUntrusted | Kind::StoreInvalid => {
            Code::FailedPrecondition
        }
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::RateLimited | Kind::StoreFull => Code::ResourceExhausted,
        Kind::RegistryUnavailable | Kind::StoreUnavailable => Code::Unavailable,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::DigestMismatch | Kind::InvalidContent => Code::DataLoss,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Cancelled => Code::Cancelled,
        Kind::StoreFailed | Kind::Internal => Code::Internal,
    }
}

/// The code of CRI's PullImage, and the name in front of its text by which kubelet recognises an
/// error, which only works with UNKNOWN. `None` where containerd is to try it.
///
/// containerd has neither our limits nor our policy, and reads some documents as somebody else
/// would. So whatever was found in an image, or in what a registry said, is told and goes no
/// further: an image must not get past us by being refused. Left to containerd is only what says
/// nothing about either: what we do not handle and it may, and failures of this node.
#[cfg(feature = "containerd")]
#[must_use]
pub fn cri_code(kind: Kind) -> Option<(Code, &'static str)> {
    Some(match kind {
        Kind::NotFound | Kind::NoMatchingPlatform => (Code::NotFound, ""),
        Kind::PlatformMismatch | Kind::InvalidContent | Kind::InvalidArgument => (Code::FailedPrecondition, ""),
        Kind::RegistryUnavailable | Kind::RateLimited | Kind::DeadlineExceeded => {
            (Code::Unknown, "RegistryUnavailable: ")
        }
        Kind::Unauthenticated | Kind::PermissionDenied | Kind::TlsUntrusted | Kind::DigestMismatch => {
            (Code::Unknown, "")
        }
        Kind::StoreFull => (Code::ResourceExhausted, ""),
        Kind::Cancelled => (Code::Cancelled, ""),
        Kind::Unsupported
        | Kind::InvalidConfiguration
        | Kind::StoreUnavailable
        | Kind::StoreInvalid
        | Kind::StoreFailed
        | Kind::Internal => return None,
    })
}

/// What a code means that came without details, from something that is not this daemon's own word.
#[cfg(feature = "containerd")]
#[must_use]
pub fn kind_of_grpc(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Kind::InvalidArgument,
        Code::NotFound => Kind::NotFound,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::PermissionDenied,
        Code::ResourceExhausted => Kind::RateLimited,
        Code::Unavailable => Kind::StoreUnavailable,
        Code::DeadlineExceeded => Kind::DeadlineExceeded,
        Code::Unimplemented => Kind::Unsupported,
        Code::Cancelled => Kind::Cancelled,
        _ => Kind::Internal,
    }
}

/// The HTTP status for a kind of error that a registry answers with. A client that has other
/// hosts goes on to the next one with any of these.
#[must_use]
pub fn http_status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidArgument => StatusCode::BAD_REQUEST,
        Kind::NotFound | Kind::NoMatchingPlatform | Kind::PlatformMismatch => StatusCode::NOT_FOUND,
        // Not 401 for credentials that were refused: containerd would send the same ones again.
        Kind::Unauthenticated | Kind::PermissionDenied => StatusCode::FORBIDDEN,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::RegistryUnavailable
        | Kind::TlsUntrusted
        | Kind::DigestMismatch
        | Kind::InvalidContent
        | Kind::Unsupported => StatusCode::BAD_GATEWAY,
        Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Kind::StoreUnavailable | Kind::StoreFull | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Kind::InvalidConfiguration | Kind::StoreInvalid | Kind::StoreFailed | Kind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(all(test, feature = "containerd"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_nothing_about_the_image_is_left_to_containerd() {
        let left = [
            Kind::Unsupported,
            Kind::InvalidConfiguration,
            Kind::StoreUnavailable,
            Kind::StoreInvalid,
            Kind::StoreFailed,
            Kind::Internal,
        ];
        for kind in Kind::ALL {
            assert_eq!(cri_code(kind).is_none(), left.contains(&kind), "{kind:?}");
        }
        for kind in [Kind::InvalidContent, Kind::PlatformMismatch, Kind::InvalidArgument] {
            assert_eq!(cri_code(kind), Some((Code::FailedPrecondition, "")), "no retry helps: {kind:?}");
        }
    }
}
