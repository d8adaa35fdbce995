//! A client of CRI, with as much of its messages as the tests need.
//!
//! Specification: Kubernetes cri-api, runtime/v1/api.proto.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use lighterman::grpc::MAX_MESSAGE;
use lighterman::service::cri::Raw;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A connection to whoever serves CRI at a socket.
#[derive(Debug, Clone)]
pub(super) struct Client(Grpc<Channel>);

impl Client {
    pub(super) async fn connect(address: &Path) -> Self {
        let channel = containerd_client::connect(address).await.expect("somebody answers");
        let grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        Self(grpc)
    }

    /// Calls `Service/Method` with a message as it is on the wire.
    pub(super) async fn send(&self, method: &str, request: Request<Bytes>) -> Result<Bytes, Status> {
        let mut grpc = self.0.clone();
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc.unary(request, path(method), Raw).await?.into_inner())
    }

    /// Calls a method that answers with a stream; all of it.
    pub(super) async fn stream(&self, method: &str, message: impl Message) -> Result<Vec<Bytes>, Status> {
        let mut grpc = self.0.clone();
        grpc.ready().await.expect("is connected");
        let request = Request::new(Bytes::from(message.encode_to_vec()));
        let mut stream = grpc.server_streaming(request, path(method), Raw).await?.into_inner();
        let mut all = Vec::new();
        while let Some(message) = stream.message().await? {
            all.push(message);
        }
        Ok(all)
    }

    pub(super) async fn call<A: Message + Default>(&self, method: &str, message: impl Message) -> Result<A, Status> {
        let answer = self.send(method, Request::new(message.encode_to_vec().into())).await?;
        Ok(A::decode(answer).expect("a message of CRI"))
    }

    /// Pulls as kubelet would, without credentials; the image ID.
    pub(super) async fn pull(&self, image: &str) -> Result<String, Status> {
        self.pull_as(image, None).await
    }

    pub(super) async fn pull_as(&self, image: &str, auth: Option<AuthConfig>) -> Result<String, Status> {
        let pulled: Text = self.call("ImageService/PullImage", PullImage { image: Some(spec(image)), auth }).await?;
        Ok(pulled.text)
    }

    pub(super) async fn image(&self, name: &str) -> Option<Image> {
        let status = self.call("ImageService/ImageStatus", PullImage { image: Some(spec(name)), auth: None });
        status.await.map(|status: ImageStatus| status.image).expect("answers")
    }

    pub(super) async fn remove(&self, name: &str) {
        let removal = PullImage { image: Some(spec(name)), auth: None };
        self.call::<Empty>("ImageService/RemoveImage", removal).await.expect("removes");
    }

    /// The list of images as it is on the wire.
    pub(super) async fn list(&self) -> Result<Bytes, Status> {
        self.send("ImageService/ListImages", Request::new(Bytes::new())).await
    }
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/runtime.v1.{method}")).expect("a path")
}

pub(super) fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.into(), ..ImageSpec::default() }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

/// Any message whose first field is all that counts, and a text.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageSpec {
    #[prost(string, tag = "1")]
    pub(super) image: String,
    #[prost(map = "string, string", tag = "2")]
    pub(super) annotations: HashMap<String, String>,
    #[prost(string, tag = "19")]
    pub(super) runtime_handler: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthConfig {
    #[prost(string, tag = "1")]
    pub(super) username: String,
    #[prost(string, tag = "2")]
    pub(super) password: String,
    #[prost(string, tag = "4")]
    pub(super) server_address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullImage {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    pub(super) auth: Option<AuthConfig>,
}

/// A PullImage with the pod that it is for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PullForPod {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<ImageSpec>,
    #[prost(message, optional, tag = "3")]
    pub(super) pod: Option<Pod>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Pod {
    #[prost(map = "string, string", tag = "7")]
    pub(super) annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageStatus {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) repo_digests: Vec<String>,
    #[prost(uint64, tag = "4")]
    pub(super) size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Images {
    #[prost(message, repeated, tag = "1")]
    pub(super) images: Vec<Image>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodConfig {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    pub(super) log_directory: String,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxPod {
    #[prost(message, optional, tag = "2")]
    pub(super) security: Option<PodSecurity>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSecurity {
    #[prost(message, optional, tag = "1")]
    pub(super) namespaces: Option<Namespaces>,
}

/// 2 is the host's.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Namespaces {
    #[prost(int32, tag = "1")]
    pub(super) network: i32,
    #[prost(int32, tag = "2")]
    pub(super) pid: i32,
    #[prost(int32, tag = "3")]
    pub(super) ipc: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RunPod {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Text>,
    #[prost(message, optional, tag = "2")]
    pub(super) image: Option<ImageSpec>,
    #[prost(string, tag = "11")]
    pub(super) log_path: String,
    #[prost(message, optional, tag = "15")]
    pub(super) linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    pub(super) security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    pub(super) namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateContainer {
    #[prost(string, tag = "1")]
    pub(super) pod: String,
    #[prost(message, optional, tag = "2")]
    pub(super) config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub(super) sandbox: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<ContainerStatus>,
}

/// State 2 is exited.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatus {
    #[prost(int32, tag = "3")]
    pub(super) state: i32,
    #[prost(int32, tag = "7")]
    pub(super) exit_code: i32,
    #[prost(string, tag = "9")]
    pub(super) image_ref: String,
}
