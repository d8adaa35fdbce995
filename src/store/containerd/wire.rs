//! What every call to containerd has in common: headers, bounds, and errors in our terms.

use std::error::Error as _;
use std::path::Path;

use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::{Code, Request, Status};

use crate::store::error::{RemoteCode, StoreError};

/// containerd's bound for identifiers.
const MAX_NAMESPACE: usize = 76;

const NAMESPACE_HEADER: &str = "containerd-namespace";
const LEASE_HEADER: &str = "containerd-lease";
/// What it says of a call whose lease it does not know, from 1.6 to 2.x.
const NO_LEASE: &str = "lease does not exist";

/// A namespace that containerd accepts, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    name: String,
    header: MetadataValue<Ascii>,
}

impl Namespace {
    /// Checks containerd's grammar of identifiers: letters and digits, separated inside by
    /// one of `.`, `_`, `-`.
    pub(super) fn parse(name: &str) -> Result<Self, StoreError> {
        let invalid = |reason: String| StoreError::InvalidNamespace { namespace: name.into(), reason };
        if name.len() > MAX_NAMESPACE {
            return Err(invalid(format!(
                "it has {} characters, over containerd's limit of {MAX_NAMESPACE}",
                name.len()
            )));
        }
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !name.split(['.', '_', '-']).all(word) {
            return Err(invalid(
                "only letters and digits, separated inside by one '.', '_' or '-', are allowed".into(),
            ));
        }
        let header = name.parse().map_err(|_| invalid("it cannot be sent as a header".into()))?;
        Ok(Self { name: name.into(), header })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `message` for this namespace, and under a lease where one is given.
    pub(super) fn request<T>(&self, lease: Option<&MetadataValue<Ascii>>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(NAMESPACE_HEADER, self.header.clone());
        if let Some(lease) = lease {
            request.metadata_mut().insert(LEASE_HEADER, lease.clone());
        }
        request
    }
}

/// What containerd answered, as an error of ours.
///
/// A status that containerd sent has no source. One that tonic made up because the
/// connection broke has the broken connection as its source: then nobody answers.
pub(super) fn failure(address: &Path, action: &'static str, status: &Status) -> StoreError {
    if let Some(source) = status.source() {
        let mut cause = source;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let reason = format!("the connection broke while lighterman asked it to {action}: {cause}");
        return StoreError::Unreachable { address: address.into(), reason };
    }
    if status.code() == Code::NotFound && status.message().contains(NO_LEASE) {
        return StoreError::LeaseGone;
    }
    StoreError::Containerd {
        action,
        message: status.message().into(),
        code: remote_code(status.code(), status.message()),
    }
}

fn remote_code(code: Code, message: &str) -> RemoteCode {
    // containerd passes the kernel's words on and most often the code UNKNOWN with them.
    let full = ["no space left on device", "disk quota exceeded"].iter().any(|text| message.contains(text));
    match code {
        _ if full => RemoteCode::Full,
        Code::ResourceExhausted => RemoteCode::Full,
        Code::Unavailable => RemoteCode::Unavailable,
        Code::InvalidArgument => RemoteCode::InvalidArgument,
        Code::NotFound => RemoteCode::NotFound,
        _ => RemoteCode::Other,
    }
}

/// Whether a write was refused because somebody else holds its ref.
pub(super) fn is_locked(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.source().is_none() && status.message().contains("locked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::{Classify, Kind};

    #[test]
    fn namespaces_follow_the_grammar_of_containerd() {
        for name in ["default", "k8s.io", "moby", "a", "A1_b-c.d", &"a".repeat(76)] {
            assert_eq!(Namespace::parse(name).expect(name).name(), name);
        }
        for name in ["", ".", "k8s..io", "-a", "a-", "a b", "a/b", "ä", "a\n", &"a".repeat(77)] {
            let error = Namespace::parse(name).expect_err(name);
            assert_eq!(error.kind(), Kind::InvalidArgument, "{name:?}");
        }
    }

    #[test]
    fn requests_carry_namespace_and_lease() {
        let namespace = Namespace::parse("k8s.io").expect("well formed");
        let request = namespace.request(Some(&MetadataValue::from_static("l1")), ());
        assert_eq!(request.metadata().get(NAMESPACE_HEADER).expect("is set"), "k8s.io");
        assert_eq!(request.metadata().get(LEASE_HEADER).expect("is set"), "l1");
        assert!(namespace.request(None, ()).metadata().get(LEASE_HEADER).is_none());
    }

    #[test]
    fn codes_are_told_apart() {
        let cases = [
            (Code::Unavailable, "ref x locked", RemoteCode::Unavailable),
            (Code::InvalidArgument, "snapshotter not loaded: x", RemoteCode::InvalidArgument),
            (Code::NotFound, "content x: not found", RemoteCode::NotFound),
            (Code::ResourceExhausted, "message too large", RemoteCode::Full),
            (Code::Unknown, "write /x: no space left on device", RemoteCode::Full),
            (Code::Unknown, "write /x: disk quota exceeded", RemoteCode::Full),
            (Code::Unknown, "something else", RemoteCode::Other),
        ];
        for (code, message, expected) in cases {
            assert_eq!(remote_code(code, message), expected, "{code:?} {message}");
            let error = failure(Path::new("/s"), "test", &Status::new(code, message));
            assert!(matches!(error, StoreError::Containerd { code, .. } if code == expected));
        }
    }

    #[test]
    fn a_broken_connection_is_nobody_answering() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = failure(Path::new("/s"), "write content", &Status::from_error(Box::new(broken)));
        assert!(matches!(&error, StoreError::Unreachable { reason, .. } if reason.contains("broken pipe")), "{error}");
    }

    #[test]
    fn a_lease_that_is_gone_is_told_from_content_that_is() {
        let of = |message: &str| failure(Path::new("/s"), "write content", &Status::not_found(message));
        assert!(matches!(of("lease does not exist: not found"), StoreError::LeaseGone));
        assert!(matches!(of("content sha256:1: not found"), StoreError::Containerd { .. }));
    }

    #[test]
    fn only_a_held_ref_is_worth_waiting_for() {
        assert!(is_locked(&Status::unavailable("ref lighterman-x locked for 1s: unavailable")));
        assert!(!is_locked(&Status::unavailable("shutting down")));
        assert!(!is_locked(&Status::unknown("locked")));
    }
}
