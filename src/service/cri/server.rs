//! The service: calls that are passed on, and the one that is ours.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Extensions, Request, Response, Status};

use super::deadline::in_time;
use super::error::{CriError, SHOWN_WITHIN};
use super::refusal;
use super::request::{self, Work};
use super::runtime::{Client, Runtime};
use super::v1::{Image, ImageSpec, ImageStatusRequest, ImageStatusResponse, ListImagesResponse, PullImageResponse};
use super::wire::image_service_server::{ImageService, ImageServiceServer};
use crate::core::error::{Classify as _, Kind};
use crate::core::reference::Reference;
use crate::fetch::progress::Silent;
use crate::grpc::MAX_MESSAGE;
use crate::pulls::{Order, Pulls};

/// The first pause between two looks; each is twice the one before, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Images in one message of a stream that we make.
const BATCH: usize = 100;

/// Pulls through `pulls`; everything else goes to containerd's CRI at the socket `runtime`, which
/// need not be there yet.
#[must_use]
pub fn server(pulls: Pulls, runtime: PathBuf) -> ImageServiceServer<impl ImageService> {
    ImageServiceServer::new(Cri { pulls, runtime: Runtime::new(runtime) })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

#[derive(Debug)]
struct Cri {
    pulls: Pulls,
    runtime: Runtime,
}

impl Cri {
    /// A call of one request and one answer, passed on until its deadline.
    async fn pass<C>(
        &self,
        request: Request<Bytes>,
        call: impl FnOnce(Client, Request<Bytes>) -> C,
    ) -> Result<Response<Bytes>, Status>
    where
        C: Future<Output = Result<Response<Bytes>, Status>>,
    {
        let metadata = request.metadata().clone();
        let passed = in_time(&metadata, self.runtime.pass(request, call)).await?;
        Ok(Response::new(passed.into_inner()))
    }

    async fn pull(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let (reference, brought, then) = match request::read(&request) {
            Work::Ours(order) => {
                let then = self.pulls.settings().delegate.then_some("pulls are set to be delegated");
                (order.reference.clone(), self.bring(*order).await, then)
            }
            Work::Shared(order) => {
                let (reference, brought) = (order.reference.clone(), self.bring(*order).await);
                if brought.as_ref().is_err_and(|error| error.kind() == Kind::NoMatchingPlatform) {
                    return self.leave(request, "the runtime that the pod names may be for another platform").await;
                }
                (reference, brought, Some("the pod names a runtime for it"))
            }
            Work::Nobodys(reference, error) => (reference, Err(error), None),
            Work::Runtimes(reason) => return self.leave(request, reason).await,
        };
        match (brought, then) {
            (Ok(_), Some(reason)) => self.leave(request, reason).await,
            (Ok(id), None) => Ok(Response::new(PullImageResponse { image_ref: id }.encode_to_vec().into())),
            (Err(error), _) => match refusal::status(&error, &reference) {
                Some(status) => Err(status),
                None => self.leave(request, &format!("our own failed: {error}")).await,
            },
        }
    }

    /// Has containerd pull, with the request as it came.
    async fn leave(&self, request: Request<Bytes>, reason: &str) -> Result<Response<Bytes>, Status> {
        tracing::info!("a pull is left to containerd: {reason}");
        self.runtime.pass(request, |mut runtime, request| async move { runtime.pull_image(request).await }).await
    }

    /// Pulls and waits until containers can be made of it; the image ID.
    async fn bring(&self, order: Order) -> Result<String, CriError> {
        let reference = order.reference.clone();
        let done = Box::pin(self.pulls.pull(order, Arc::new(Silent), CancellationToken::new())).await?;
        let id = done.image_id.map(|id| id.to_string()).unwrap_or_default();
        match tokio::time::timeout(SHOWN_WITHIN, self.shown(&id, &reference)).await {
            Ok(()) => Ok(id),
            Err(_) => Err(CriError::NotShown { id }),
        }
    }

    /// Comes back once containerd's CRI shows the image under its ID and its names.
    async fn shown(&self, id: &str, reference: &Reference) {
        let question = ImageStatusRequest { image: Some(ImageSpec { image: id.into(), ..ImageSpec::default() }) };
        let question = Bytes::from(question.encode_to_vec());
        let mut pause = PAUSE;
        loop {
            let asked = Request::new(question.clone());
            let answer =
                self.runtime.pass(asked, |mut runtime, asked| async move { runtime.image_status(asked).await }).await;
            match answer.map(|answer| ImageStatusResponse::decode(answer.into_inner())) {
                Ok(Ok(ImageStatusResponse { image: Some(image) })) if is_whole(&image, id, reference) => return,
                Ok(_) => {}
                Err(status) => tracing::debug!("containerd's CRI cannot be asked for an image: {}", status.message()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// ListImages in the form of StreamImages, for a containerd that does not know the latter.
    async fn listed(&self, request: Request<Bytes>) -> Result<Vec<Bytes>, Status> {
        let list = self
            .runtime
            .pass(request, |mut runtime, request| async move { runtime.list_images(request).await })
            .await?;
        let list = ListImagesResponse::decode(list.into_inner())
            .map_err(|error| Status::internal(format!("containerd's list of images cannot be read: {error}")))?;
        let batch = |images: &[Bytes]| ListImagesResponse { images: images.to_vec() }.encode_to_vec().into();
        Ok(list.images.chunks(BATCH).map(batch).collect())
    }

    async fn stream(&self, request: Request<Bytes>) -> Result<Response<Images>, Status> {
        let again = Request::from_parts(request.metadata().clone(), Extensions::default(), request.get_ref().clone());
        let streamed = self
            .runtime
            .pass(request, |mut runtime, request| async move { runtime.stream_images(request).await })
            .await;
        match streamed {
            Ok(streamed) => {
                let runtime = self.runtime.clone();
                let images = streamed.into_inner().map(move |batch| batch.map_err(|status| runtime.told(status)));
                Ok(Response::new(Box::pin(images)))
            }
            // Both messages name the filter alike.
            Err(status) if status.code() == Code::Unimplemented => {
                let batches = self.listed(again).await?;
                Ok(Response::new(Box::pin(stream::iter(batches.into_iter().map(Ok)))))
            }
            Err(status) => Err(status),
        }
    }
}

/// Whether the last record of an image is known: the ID, then the tag, then the digest.
fn is_whole(image: &Image, id: &str, reference: &Reference) -> bool {
    let by_digest = format!("{}@", reference.name());
    let tagged = reference.to_string();
    image.id == id
        && (reference.digest().is_some() || image.repo_tags.contains(&tagged))
        && image.repo_digests.iter().any(|name| name.starts_with(&by_digest))
}

/// Messages of a stream of images.
type Images = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

#[tonic::async_trait]
impl ImageService for Cri {
    async fn list_images(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.pass(request, |mut runtime, request| async move { runtime.list_images(request).await }).await
    }

    type StreamImagesStream = Images;

    async fn stream_images(&self, request: Request<Bytes>) -> Result<Response<Images>, Status> {
        let metadata = request.metadata().clone();
        in_time(&metadata, self.stream(request)).await
    }

    async fn image_status(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.pass(request, |mut runtime, request| async move { runtime.image_status(request).await }).await
    }

    async fn pull_image(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let metadata = request.metadata().clone();
        in_time(&metadata, Box::pin(self.pull(request))).await
    }

    async fn remove_image(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.pass(request, |mut runtime, request| async move { runtime.remove_image(request).await }).await
    }

    async fn image_fs_info(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.pass(request, |mut runtime, request| async move { runtime.image_fs_info(request).await }).await
    }
}
