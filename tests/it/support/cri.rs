//! The few CRI calls that the tests need, with their messages encoded by hand: crictl is not in Debian.
//!
//! Specification: Kubernetes cri-api, runtime/v1/api.proto, `service ImageService`.

use std::path::Path;

use containerd_client::tonic::client::Grpc;
use containerd_client::tonic::codegen::Bytes;
use containerd_client::tonic::codegen::http::uri::PathAndQuery;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use lighterman::service::cri::Raw;

/// An image as CRI describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CriImage {
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
    pub(crate) size: u64,
}

/// A client of the image service.
#[derive(Debug)]
pub(crate) struct CriImages(Grpc<Channel>);

impl CriImages {
    pub(crate) async fn connect(address: &Path) -> Self {
        Self(Grpc::new(containerd_client::connect(address).await.expect("containerd answers")))
    }

    /// Pulls as kubelet would; the image ID.
    pub(crate) async fn pull(&mut self, reference: &str) -> String {
        let reply = self.call("PullImage", &field(1, &field(1, reference.as_bytes()))).await.expect("pulls");
        fields(&reply).iter().find_map(|(number, value)| (*number == 1).then(|| text(value))).expect("an image ref")
    }

    /// Pulls as kubelet would with an image pull secret; the image ID, or what CRI says instead.
    pub(crate) async fn pull_as(&mut self, reference: &str, user: &str, password: &str) -> Result<String, String> {
        let auth = [field(1, user.as_bytes()), field(2, password.as_bytes())].concat();
        let message = [field(1, &field(1, reference.as_bytes())), field(2, &auth)].concat();
        let reply = self.call("PullImage", &message).await.map_err(|status| status.message().to_owned())?;
        Ok(fields(&reply).iter().find_map(|(number, value)| (*number == 1).then(|| text(value))).expect("an image ref"))
    }

    /// What CRI knows under a reference or ID.
    pub(crate) async fn status(&mut self, reference: &str) -> Option<CriImage> {
        let reply = self.call("ImageStatus", &field(1, &field(1, reference.as_bytes()))).await.expect("answers");
        let (_, image) = fields(&reply).into_iter().find(|(number, _)| *number == 1)?;
        let mut found = CriImage::default();
        for (number, value) in fields(&image) {
            match number {
                1 => found.id = text(&value),
                2 => found.tags.push(text(&value)),
                3 => found.digests.push(text(&value)),
                4 => found.size = value.iter().rev().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f)),
                _ => {}
            }
        }
        Some(found)
    }

    async fn call(&mut self, method: &str, message: &[u8]) -> Result<Bytes, Status> {
        let path = PathAndQuery::try_from(format!("/runtime.v1.ImageService/{method}")).expect("a path");
        self.0.ready().await.expect("is ready");
        let request = Request::new(Bytes::copy_from_slice(message));
        Ok(self.0.unary(request, path, Raw).await?.into_inner())
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).expect("UTF-8")
}

/// One length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(content);
    bytes
}

/// Number and content of every field; of integers, their bytes as encoded.
fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = message.split_first() {
        let end = rest.iter().position(|byte| byte & 0x80 == 0).expect("an integer ends") + 1;
        let (integer, rest) = rest.split_at(end);
        if key & 7 == 2 {
            let length = integer.iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
            let (content, rest) = rest.split_at(length);
            found.push((key >> 3, content.to_vec()));
            message = rest;
        } else {
            assert_eq!(key & 7, 0, "CRI's image messages have integers and strings only");
            found.push((key >> 3, integer.to_vec()));
            message = rest;
        }
    }
    found
}
