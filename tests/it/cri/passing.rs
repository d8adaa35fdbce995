//! What goes through to containerd's CRI goes through as it is.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Request, Status};

use super::client::{Client, Image, ImageSpec, Images, PullImage, spec};
use super::recorder::Recorder;
use crate::support::daemon::Daemon;
use crate::support::lighterman::Lighterman;

/// Before a CRI that records, and no containerd at all.
fn serve(recorder: &Recorder) -> Daemon<'static> {
    let nobody = recorder.folder().join("no-containerd.sock");
    let endpoint = format!("[cri]\nendpoint = \"{}\"\n", recorder.socket().display());
    Daemon::start_at(Lighterman::new(), &nobody, &endpoint)
}

/// A message of the future: its field 4000 is known to nobody.
fn unknown_field(message: &impl Message) -> Bytes {
    let key = (4000_u32 << 3) | 2;
    let mut bytes = message.encode_to_vec();
    prost::encoding::encode_varint(key.into(), &mut bytes);
    prost::encoding::encode_varint(5, &mut bytes);
    bytes.extend_from_slice(b"cargo");
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_and_every_deadline_goes_through() {
    let recorder = Recorder::start(None);
    let daemon = serve(&recorder);
    let client = Client::connect(&daemon.socket()).await;
    let message = unknown_field(&PullImage { image: Some(spec("busybox")), auth: None });
    for method in ["ListImages", "ImageStatus", "RemoveImage", "ImageFsInfo"] {
        let mut request = Request::new(message.clone());
        request.set_timeout(Duration::from_secs(3600));
        let answer = client.send(&format!("ImageService/{method}"), request).await.expect("is passed on");
        assert_eq!(answer, message, "{method}");
        let (asked, timeout, came) = recorder.asked().pop().expect("was asked");
        assert_eq!((asked.as_str(), came), (method, message.clone()));
        assert!(timeout.is_some(), "{method}: the deadline is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_sixteen_mebibytes_go_through() {
    let recorder = Recorder::start(None);
    let daemon = serve(&recorder);
    let client = Client::connect(&daemon.socket()).await;
    let message = Bytes::from(vec![7; (16 << 20) - 1024]);
    let answer = client.send("ImageService/ListImages", Request::new(message.clone())).await.expect("is passed on");
    assert!(answer == message, "{} bytes came back", answer.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_goes_through_with_its_details() {
    let refusal = Status::with_details(Code::FailedPrecondition, "not before the tide", Bytes::from_static(b"details"));
    for method in ["ListImages", "PullImage"] {
        let recorder = Recorder::start(Some((method, Err(refusal.clone()))));
        let daemon = serve(&recorder);
        let client = Client::connect(&daemon.socket()).await;
        let refused =
            client.send(&format!("ImageService/{method}"), Request::new(Bytes::new())).await.expect_err("is refused");
        assert_eq!(refused.code(), refusal.code(), "{method}");
        assert_eq!((refused.message(), refused.details()), (refusal.message(), refusal.details()), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_images_is_made_of_the_list_where_containerd_has_none() {
    let recorder = Recorder::start(None);
    let daemon = serve(&recorder);
    let client = Client::connect(&daemon.socket()).await;
    let image = |number: usize| Image { id: format!("sha256:{number}"), size: 1, ..Image::default() };
    // What is asked comes back, and a filter looks like an image on the wire.
    let list = Images { images: (0..250).map(image).collect() };
    let batches = client.stream("ImageService/StreamImages", list.clone()).await.expect("streams");
    let sizes: Vec<usize> =
        batches.iter().map(|batch| Images::decode(batch.clone()).expect("images").images.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(batches.concat(), list.encode_to_vec());
    let none = client.stream("ImageService/StreamImages", Images::default()).await.expect("streams");
    assert!(none.is_empty(), "a message without an image");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_that_are_none_of_ours_go_through_whole() {
    let recorder = Recorder::start(None);
    let daemon = serve(&recorder);
    let client = Client::connect(&daemon.socket()).await;
    let handled = ImageSpec { runtime_handler: "gvisor".into(), ..spec("quay.io/a/b:1") };
    let id = format!("sha256:{}", "0".repeat(64));
    for image in [handled, spec(""), spec("quay.io/UPPER/case"), spec(&id)] {
        let message = unknown_field(&PullImage { image: Some(image), auth: None });
        let answer = client.send("ImageService/PullImage", Request::new(message.clone())).await.expect("is passed on");
        assert_eq!(answer, message);
        assert_eq!(recorder.asked().pop(), Some(("PullImage".into(), None, message)));
    }
    // No containerd to pull into: a failure of our own.
    let message = unknown_field(&PullImage { image: Some(spec("quay.io/a/b:1")), auth: None });
    let answer = client.send("ImageService/PullImage", Request::new(message.clone())).await.expect("is passed on");
    assert_eq!(answer, message);
}
