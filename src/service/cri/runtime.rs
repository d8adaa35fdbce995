//! containerd's own CRI.

use std::error::Error as _;
use std::path::PathBuf;

use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Extensions, Request, Status};

use super::wire::image_service_client::ImageServiceClient;
use crate::grpc::{MAX_MESSAGE, channel};

/// Headers that are about one connection, and not about the call.
const HOP_BY_HOP: [&str; 2] = ["grpc-encoding", "grpc-accept-encoding"];

/// Speaks to it in bytes.
pub(super) type Client = ImageServiceClient<Channel>;

/// A client of it, which connects when it is first asked, and again after a restart.
#[derive(Debug, Clone)]
pub(super) struct Runtime {
    address: PathBuf,
    client: Client,
}

impl Runtime {
    /// Nothing is opened yet, so there may be nobody at `address` either.
    pub(super) fn new(address: PathBuf) -> Self {
        let client = ImageServiceClient::new(channel(&address, || {}))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Self { address, client }
    }

    /// Passes a request on as it came, with its deadline; the answer, or the refusal, as it comes.
    ///
    /// # Errors
    /// containerd's own status, and UNAVAILABLE where it does not answer.
    pub(super) async fn pass<T, C>(
        &self,
        request: Request<Bytes>,
        call: impl FnOnce(Client, Request<Bytes>) -> C,
    ) -> Result<T, Status>
    where
        C: Future<Output = Result<T, Status>>,
    {
        call(self.client.clone(), forwarded(request)).await.map_err(|status| self.told(status))
    }

    /// containerd's status as it is; one that tonic made up, because the connection broke or never
    /// was, in words that help.
    pub(super) fn told(&self, status: Status) -> Status {
        let Some(source) = status.source() else { return status };
        let mut cause = source;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let address = self.address.display();
        Status::unavailable(format!(
            "containerd's CRI does not answer at {address}: {cause}; look whether containerd runs, and whether \
             cri.endpoint in lighterman's configuration is its socket"
        ))
    }
}

fn forwarded(request: Request<Bytes>) -> Request<Bytes> {
    let (mut metadata, _, message) = request.into_parts();
    for name in HOP_BY_HOP {
        metadata.remove(name);
    }
    Request::from_parts(metadata, Extensions::default(), message)
}
