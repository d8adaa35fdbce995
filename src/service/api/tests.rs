//! What goes into a message comes out of it.

use std::sync::Mutex;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::events::{Telling, retell};
use super::failure::{RemoteFailure, message_of, status};
use super::request::BadRequest;
use super::{convert, v1};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::mismatch::{Action, Mismatch};
use crate::core::platform::Platform;
use crate::fetch::progress::{Event, Observer};
use crate::host::{Node, known};
use crate::pull::{Layers, Planned, Pulled, Traffic};
use crate::pulls::{Done, Doubt};
use crate::resolve::resolution::{Explained, ExplainedEntry, Prediction, Resolution};
use crate::service::status::{grpc_code, kind_of_grpc};
use crate::store::Tally;

/// An error that knows everything.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Full {
    message: String,
    attempts: Vec<Attempt>,
}

impl Classify for Full {
    fn kind(&self) -> Kind {
        Kind::DigestMismatch
    }

    fn blame(&self) -> Blame {
        Blame::Network
    }

    fn hint(&self) -> Option<String> {
        Some("ask somebody".into())
    }

    fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }
}

fn full(attempts: usize) -> Full {
    let attempt = |number: usize| Attempt {
        host: format!("mirror-{number}.example"),
        kind: Kind::RegistryUnavailable,
        message: format!("attempt {number}: {}", "reset ".repeat(20)),
        elapsed: Duration::from_millis(1500),
        offset: number as u64,
    };
    Full { message: "wrong bytes".into(), attempts: (0..attempts).map(attempt).collect() }
}

#[test]
fn an_error_comes_back_as_it_was() {
    let (error, sent) = (full(3), status(&full(3)));
    assert_eq!((sent.code(), sent.message()), (Code::DataLoss, "wrong bytes"));
    let back = RemoteFailure::of(&sent);
    assert_eq!(back.to_string(), error.to_string());
    assert_eq!((back.kind(), back.blame(), back.hint()), (error.kind(), error.blame(), error.hint()));
    let fields = |attempt: &Attempt| {
        (attempt.host.clone(), attempt.kind, attempt.message.clone(), attempt.elapsed, attempt.offset)
    };
    assert_eq!(
        back.attempts().iter().map(fields).collect::<Vec<_>>(),
        error.attempts().iter().map(fields).collect::<Vec<_>>()
    );
}

#[test]
fn a_status_fits_into_a_header_whatever_happened() {
    let mut error = full(500);
    error.message = "ß".repeat(20_000);
    let sent = status(&error);
    assert!(sent.details().len() + sent.message().len() < 16 * 1024, "{}", sent.details().len());
    let back = RemoteFailure::of(&sent);
    assert_eq!(back.attempts().last().map(|attempt| attempt.offset), Some(499), "the last attempt is lost");
    assert!(back.to_string().ends_with('…'));
}

#[test]
fn a_status_of_somebody_else_is_understood_as_far_as_it_goes() {
    let cases = [
        (Status::unavailable("no"), Kind::StoreUnavailable),
        (Status::cancelled(""), Kind::Cancelled),
        (Status::with_details(Code::NotFound, "gone", vec![0xff; 9].into()), Kind::NotFound),
        (Status::unknown("?"), Kind::Internal),
    ];
    for (status, kind) in cases {
        let failure = RemoteFailure::of(&status);
        assert_eq!(failure.kind(), kind, "{status:?}");
        assert!(failure.to_string().starts_with("the lighterman daemon"), "{failure}");
    }
    // Nothing that is sent without details is taken for success or for a bug of the caller's.
    for kind in Kind::ALL {
        assert_ne!(grpc_code(kind), Code::Ok);
    }
    assert_eq!(kind_of_grpc(Code::DeadlineExceeded), Kind::DeadlineExceeded);
}

fn descriptor(text: &str) -> Descriptor {
    let platform = Platform::linux("arm", "v7");
    Descriptor { platform: Some(platform), ..Descriptor::new(MediaType::OciManifest, Digest::of(text.as_bytes()), 9) }
}

#[test]
fn a_resolution_comes_back_as_it_was() {
    let entry = ExplainedEntry {
        path: "0.1".into(),
        descriptor: descriptor("entry"),
        normalized: Some("linux/arm/v7".into()),
        verdict: "chosen".into(),
        slot: Some(2),
        reason: "chosen: matches slot 2 of 3".into(),
    };
    let other = ExplainedEntry { normalized: None, slot: None, verdict: "attestation".into(), ..entry.clone() };
    let prediction = Prediction {
        client: "ctr".into(),
        label: "ctr, nerdctl".into(),
        outcome: "takes".into(),
        entries: vec!["0.1".into()],
        text: "entry 0.1".into(),
    };
    let explained = Explained {
        root: "index".into(),
        accepts: vec!["linux/arm/v7".into()],
        entries: vec![entry, other],
        predictions: vec![prediction],
        passed_over: Some("2".into()),
        notes: vec!["note".into()],
    };
    let resolution = Resolution {
        reference: "docker.io/library/app:1".into(),
        root: Descriptor::new(MediaType::OciIndex, Digest::of(b"root"), 77),
        chosen: Some((descriptor("manifest"), Platform::linux("arm", "v7"))),
        warnings: vec!["careful".into()],
        explained: Some(explained),
    };
    let refused = Resolution { chosen: None, explained: None, ..resolution.clone() };
    for resolution in [resolution, refused] {
        let bytes = v1::ResolveResponse::from(&resolution).encode_to_vec();
        let message = v1::ResolveResponse::decode(bytes.as_slice()).expect("its own bytes");
        assert_eq!(Resolution::try_from(message).expect("means something"), resolution);
    }
    assert!(Resolution::try_from(v1::ResolveResponse::default()).is_err(), "a message without a root");
}

#[test]
fn what_a_pull_plans_and_brings_comes_back_as_it_was() {
    let planned = Planned {
        reference: "docker.io/library/app:1".into(),
        root: descriptor("root"),
        images: vec![(Digest::of(b"image"), Platform::linux("amd64", "v3"))],
        blobs: 4,
        bytes: 1 << 40,
        warnings: vec!["careful".into()],
    };
    let message = v1::PullResolved::from(&planned);
    assert_eq!(Planned::try_from(message).expect("means something"), planned);

    let pulled = Pulled {
        traffic: Traffic { bytes_fetched: 1, bytes_present: 2, blobs_fetched: 3, blobs_present: 4 },
        target: Digest::of(b"target"),
        unpacked: vec![Digest::of(b"chain")],
        warnings: vec!["late".into()],
        content: Tally { linked: 5, written: 6 },
        layers: Layers { grafted: 7, applied: 8, present: 9 },
        elapsed: Duration::from_millis(1234),
    };
    let done = Done { planned, pulled: pulled.clone(), image_id: None, destination: "somewhere".into() };
    let (back, destination) = convert::pulled((&done).into()).expect("means something");
    assert_eq!((format!("{back:?}"), destination), (format!("{pulled:?}"), "somewhere".to_owned()));
}

/// Writes down what it hears.
#[derive(Debug, Default)]
struct Written(Mutex<Vec<String>>);

impl Observer for Written {
    fn notify(&self, event: Event<'_>) {
        let line = match event {
            Event::NextHost { what, left, cause } => format!("{what} {left} {:?} {cause}", message_of(cause)),
            Event::Waiting { what, wait, cause } => format!("{what} {wait:?} {cause}"),
            // A media type is not told.
            Event::Present(blob) | Event::Finished(blob) | Event::Shared(blob) => {
                format!("{} {}", blob.digest, blob.size)
            }
            other => format!("{other:?}"),
        };
        self.0.lock().expect("no panic under the lock").push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_comes_back_and_bytes_are_added_up() {
    let blob = Descriptor::new(MediaType::Other(String::new()), Digest::of(b"blob"), 900);
    let (digest, cause) = (blob.digest.clone(), full(1));
    let mismatch = Mismatch {
        id: "PLAT-004".into(),
        action: Action::Refuse,
        image: "app:1".into(),
        platform: Platform::linux("arm", "v7"),
        node: "quay".into(),
        message: "its program is for another architecture".into(),
    };
    let allowed = Mismatch { action: Action::Allow, ..mismatch.clone() };
    let events = [
        Event::Present(&blob),
        Event::Started { blob: &blob, offset: 7 },
        Event::Shared(&blob),
        Event::NextHost { what: "it", left: "mirror.example", cause: &cause },
        Event::Waiting { what: "it", wait: Duration::from_millis(2500), cause: &cause },
        Event::Blamed { digest: &digest, host: "mirror.example" },
        Event::Unpacked { done: 1, total: 3 },
        Event::Mismatch(&mismatch),
        Event::Finished(&blob),
    ];
    let (to, mut from) = mpsc::channel(100);
    let (telling, told, heard) = (Telling::new(to), Written::default(), Written::default());
    for event in events {
        telling.notify(event);
        told.notify(event);
    }
    for bytes in [100, 200, 300] {
        telling.notify(Event::Advanced { digest: &digest, bytes });
    }
    telling.notify(Event::Finished(&blob));
    // Who allows it does not want to hear of it.
    telling.notify(Event::Mismatch(&allowed));
    drop(telling);
    told.notify(Event::Advanced { digest: &digest, bytes: 600 });
    told.notify(Event::Finished(&blob));
    while let Some(message) = from.recv().await {
        retell(message.expect("no error").event.expect("an event"), &heard).expect("means something");
    }
    assert_eq!(*heard.0.lock().expect("whole"), *told.0.lock().expect("whole"));
}

#[test]
fn nodes_travel_by_their_reports_and_bad_reports_are_refused() {
    let ask = |node: v1::Node| {
        Doubt::try_from(v1::DiagnoseRequest { reference: "busybox".into(), nodes: vec![node], ..Default::default() })
    };
    for name in known::names() {
        let node = Node::known(name).expect("is known");
        assert_eq!(ask((&node).into()).expect("is understood").nodes, [node], "{name}");
    }
    let pi = Node::known("raspberry-pi-zero").expect("is known");
    for (what, was, is) in [("pages", "4096", "0"), ("a bell", "armv6l", "\\u0007")] {
        let mut message = v1::Node::from(&pi);
        assert!(message.report_json.contains(was), "{}", message.report_json);
        message.report_json = message.report_json.replace(was, is);
        assert!(matches!(ask(message), Err(BadRequest::Report { .. })), "{what}");
    }
}
