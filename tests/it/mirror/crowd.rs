//! More clients than the mirror has places for, and what is counted of them all.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use super::{blob_path, image, layer};
use crate::support::fixture::base64;
use crate::support::free_address;
use crate::support::liar::{Liar, Reply};
use crate::support::mirror::{Client, MirrorServer, Setup};

/// What the whole process may take, in KiB.
const PEAK: u64 = 128 * 1024;

/// How often it is looked whether something that is waited for is so.
const LOOK: Duration = Duration::from_millis(5);

#[test]
fn three_hundred_who_stall_keep_nobody_waiting() {
    // More than the kernel takes for a client that reads nothing.
    let image = image(20, 4 << 20);
    let registry = Liar::serving(&image, "app:1");
    let mirror = MirrorServer::allowing(&[&registry.address()]);
    let path = blob_path("app", layer(&image), &registry.address());
    assert!(mirror.get(&path, &[]).is_whole());
    let stall = |number: usize| {
        let mut stream = TcpStream::connect(mirror.address()).expect("it accepts");
        // Some take nothing of what they have asked for, the others do not even ask.
        if number.is_multiple_of(2) {
            let host = mirror.address();
            write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").expect("is written");
        }
        stream
    };
    let stalled: Vec<TcpStream> = (0..300).map(stall).collect();
    for _ in 0..20 {
        let answer = mirror.get("/v2/", &[]);
        assert_eq!((answer.status, &*answer.code()), (503, "TOOMANYREQUESTS"), "{answer:?}");
        assert_eq!(answer.field("retry-after"), "30");
    }
    drop(stalled);
    while mirror.get("/v2/", &[]).status == 503 {
        std::thread::sleep(LOOK);
    }
    assert!(mirror.get(&path, &[]).is_whole());
}

#[test]
fn giant_tokens_of_many_repositories_take_no_memory() {
    let registry = Liar::start();
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"evil\"", registry.address());
    registry.always("/v2/", Reply::Status(401, vec![("www-authenticate", realm)], "{}"));
    // As large as a document, and good for a day.
    let token: &str = format!("{{\"token\":\"{}\",\"expires_in\":86400}}", "x".repeat(900_000)).leak();
    registry.always("/token", Reply::Status(200, Vec::new(), token));
    let mut mirror = MirrorServer::allowing(&[&registry.address()]);
    for number in 0..200 {
        let path = format!("/v2/app{number}/manifests/1?ns={}", registry.address());
        let basic = format!("Basic {}", base64(&format!("user{}:s3cret", number % 20)));
        assert_ne!(mirror.get(&path, &[("authorization", &basic)]).status, 200);
        assert_ne!(mirror.get(&path, &[]).status, 200);
    }
    let peak = mirror.daemon().process().proc_value("status", "VmHWM").expect("it runs");
    assert!(peak < PEAK, "{peak} KiB");
}

#[test]
fn requests_are_counted_by_kind_and_result_and_bytes_by_their_source() {
    let image = image(21, 300_000);
    let registry = Liar::serving(&image, "app:1");
    let metrics = free_address();
    let top = format!("[metrics]\nlisten = \"{metrics}\"");
    let mirror = MirrorServer::start(&Setup { top, ..Setup::allowing(&[&registry.address()]) });
    let metrics = Client::of(metrics);
    let value = |sample: &str| -> f64 {
        let page = String::from_utf8(metrics.get("/metrics", &[]).body).expect("UTF-8");
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    };
    let bytes = |source: &str| value(&format!("lighterman_mirror_content_bytes_total{{source=\"{source}\"}}"));
    let requests = |kind: &str, result: &str| {
        value(&format!("lighterman_mirror_requests_total{{kind=\"{kind}\",result=\"{result}\"}}"))
    };
    let (blob, ns) = (blob_path("app", layer(&image), &registry.address()), registry.address());
    assert!(mirror.get(&format!("/v2/app/manifests/1?ns={ns}"), &[]).is_whole());
    for _ in 0..3 {
        assert!(mirror.get(&blob, &[]).is_whole());
    }
    assert_eq!(mirror.get(&format!("/v2/app/manifests/2?ns={ns}"), &[]).status, 404);
    assert_eq!(mirror.get("/v2/app/manifests/1?ns=127.0.0.1:1", &[]).status, 400);
    assert_eq!(mirror.get("/v2/", &[("origin", "null")]).status, 403);
    // An answer ends a moment after its client has it.
    while requests("blob", "done") < 3.0 {
        std::thread::sleep(LOOK);
    }
    let size = layer(&image).bytes.len();
    let of_upstream = (size + image.root.bytes.len()) as f64;
    assert_eq!((bytes("upstream"), bytes("cache"), bytes("store")), (of_upstream, (2 * size) as f64, 0.0));
    assert_eq!((requests("manifest", "done"), requests("manifest", "unknown")), (1.0, 1.0));
    assert_eq!((requests("manifest", "invalid"), requests("other", "denied")), (1.0, 1.0));
    // The same strangers are kept from the metrics.
    for (header, status) in
        [(("origin", "null"), 403), (("sec-fetch-site", "same-site"), 403), (("host", "evil.example"), 421)]
    {
        assert_eq!(metrics.get("/metrics", &[header]).status, status, "{header:?}");
    }
}
