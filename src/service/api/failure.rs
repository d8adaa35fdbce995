//! An error of the house as a gRPC status, and back.
//!
//! Specification: google.rpc.Status and error_details.proto (AIP-193).

use std::fmt;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use super::v1;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::text::cut;
use crate::service::status::{grpc_code, kind_of_grpc};

/// Whose errors they are, in `ErrorInfo`.
const DOMAIN: &str = "lighterman";
/// Name of [`v1::Failure`] in `Any`.
const FAILURE: &str = "lighterman.v1.Failure";
/// Bytes of a status that are sent at the most: it travels in a header, and clients refuse
/// headers over 8 or 16 KiB. Older attempts are left out first.
const MAX_DETAILS: usize = 6 * 1024;
/// Bytes of one message in it.
pub(super) const MAX_MESSAGE: usize = 2 * 1024;

/// The status of a failed call: its code from the one table, and everything else as details.
#[must_use]
pub fn status(error: &dyn Classify) -> Status {
    let (code, message) = (grpc_code(error.kind()), cut(&error.to_string(), MAX_MESSAGE));
    let mut failure = message_of(error);
    while failure.encoded_len() > MAX_DETAILS && !failure.attempts.is_empty() {
        failure.attempts.remove(0);
    }
    let info = pb::ErrorInfo {
        reason: failure.kind.to_uppercase().replace('-', "_"),
        domain: DOMAIN.into(),
        metadata: [("blame".to_owned(), failure.blame.clone())].into(),
    };
    let details = vec![any("google.rpc.ErrorInfo", &info), any(FAILURE, &failure)];
    let status = pb::Status { code: i32::from(code), message: message.clone(), details };
    Status::with_details(code, message, status.encode_to_vec().into())
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// An error with everything that it can be asked.
pub(super) fn message_of(error: &dyn Classify) -> v1::Failure {
    let attempt = |attempt: &Attempt| v1::Attempt {
        host: attempt.host.clone(),
        kind: attempt.kind.name().into(),
        message: cut(&attempt.message, MAX_MESSAGE),
        elapsed: attempt.elapsed.try_into().ok(),
        offset: attempt.offset,
    };
    v1::Failure {
        kind: error.kind().name().into(),
        blame: error.blame().name().into(),
        message: cut(&error.to_string(), MAX_MESSAGE),
        hint: error.hint().unwrap_or_default(),
        attempts: error.attempts().iter().map(attempt).collect(),
    }
}

/// An error that a daemon told.
#[derive(Debug, Clone)]
pub struct RemoteFailure {
    kind: Kind,
    blame: Blame,
    message: String,
    hint: Option<String>,
    attempts: Vec<Attempt>,
}

impl fmt::Display for RemoteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RemoteFailure {}

impl Classify for RemoteFailure {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn blame(&self) -> Blame {
        self.blame
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }
}

impl RemoteFailure {
    /// What a status says, with its details where they can be read.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
        let failure = details.iter().find(|any| any.type_url.rsplit('/').next() == Some(FAILURE));
        match failure.map(|any| v1::Failure::decode(any.value.as_slice())) {
            Some(Ok(failure)) => failure.into(),
            _ => Self::bare(status),
        }
    }

    /// The connection to the daemon ended in the middle of a call.
    fn broken_off(source: &dyn std::error::Error) -> Self {
        let kind = Kind::StoreUnavailable;
        Self {
            kind,
            blame: kind.blame(),
            message: format!("the lighterman daemon went away while it was asked: {source}"),
            hint: Some("ask again: what was downloaded is kept; its log says why it ended".into()),
            attempts: Vec::new(),
        }
    }

    fn bare(status: &Status) -> Self {
        // Of what came from the daemon itself, nobody knows a source.
        if let Some(source) = std::error::Error::source(status) {
            return Self::broken_off(source);
        }
        let kind = kind_of_grpc(status.code());
        let message = match (status.code(), status.message()) {
            (Code::Unavailable, text) => format!("the lighterman daemon does not answer: {text}"),
            (code, "") => format!("the lighterman daemon failed: {code}"),
            (_, text) => format!("the lighterman daemon failed: {text}"),
        };
        Self { kind, blame: kind.blame(), message, hint: None, attempts: Vec::new() }
    }
}

impl From<v1::Failure> for RemoteFailure {
    fn from(failure: v1::Failure) -> Self {
        let kind = Kind::from_name(&failure.kind).unwrap_or(Kind::Internal);
        let attempt = |attempt: v1::Attempt| Attempt {
            host: attempt.host,
            kind: Kind::from_name(&attempt.kind).unwrap_or(Kind::Internal),
            message: attempt.message,
            elapsed: attempt.elapsed.and_then(|elapsed| Duration::try_from(elapsed).ok()).unwrap_or_default(),
            offset: attempt.offset,
        };
        Self {
            kind,
            blame: Blame::from_name(&failure.blame).unwrap_or(kind.blame()),
            message: failure.message,
            hint: Some(failure.hint).filter(|hint| !hint.is_empty()),
            attempts: failure.attempts.into_iter().map(attempt).collect(),
        }
    }
}
