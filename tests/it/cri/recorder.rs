//! A CRI that records what it is asked, and answers with that.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use lighterman::service::cri::Raw;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What was asked: the method, its `grpc-timeout`, and the message.
pub(super) type Asked = (String, Option<String>, Bytes);

/// What is answered instead of the message that came: the messages in turn, the last one for ever.
pub(super) type Script = Result<Vec<Bytes>, Status>;

/// A running one; it ends with the test's runtime.
pub(super) struct Recorder {
    folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// Answers with the message that came; to the method `other`, with what its script says.
    pub(super) fn start(other: Option<(&'static str, Script)>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("cri.sock")).expect("a socket");
        let asked = Arc::default();
        let service = Echo { asked: Arc::clone(&asked), other };
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)));
        Self { folder, asked }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("cri.sock")
    }

    /// Everything so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic under the lock").clone()
    }
}

#[derive(Clone)]
struct Echo {
    asked: Arc<Mutex<Vec<Asked>>>,
    other: Option<(&'static str, Script)>,
}

impl NamedService for Echo {
    const NAME: &'static str = "runtime.v1.ImageService";
}

impl tower::Service<HttpRequest<Body>> for Echo {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let call = Call { method, echo: self.clone() };
        // As a containerd that does not know it.
        if call.method == "StreamImages" {
            return Box::pin(ready(Ok(Status::unimplemented("unknown method StreamImages").into_http())));
        }
        let most = 16 << 20;
        let mut grpc = Grpc::new(Raw).apply_max_message_size_config(Some(most), Some(most));
        Box::pin(async move { Ok(grpc.unary(call, request).await) })
    }
}

struct Call {
    method: String,
    echo: Echo,
}

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let timeout = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let asked = (self.method.clone(), timeout, request.get_ref().clone());
        let mut all = self.echo.asked.lock().expect("no panic under the lock");
        let before = all.iter().filter(|(method, ..)| *method == self.method).count();
        all.push(asked);
        ready(match &self.echo.other {
            Some((method, script)) if *method == self.method => script.clone().map(|messages| {
                let last = messages.len() - 1;
                Response::new(messages[before.min(last)].clone())
            }),
            _ => Ok(Response::new(request.into_inner())),
        })
    }
}
