//! Blobs in parts: ranges, versions, redirects that expire, hosts that do not do ranges, stalls.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::support::{Request, Response, Server, client};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::registry::{BlobSource, BlobStream, Client, Credentials, Reason, RegistryError, Secret, Stage};

const BODY: &[u8] = b"0123456789";

fn blob() -> Descriptor {
    Descriptor::new(MediaType::parse("application/vnd.oci.image.layer.v1.tar"), Digest::of(BODY), BODY.len() as u64)
}

async fn collect(mut stream: BlobStream) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn source(server: &Server) -> BlobSource {
    client(Credentials::anonymous()).source(&server.host(), &server.reference(), &blob())
}

/// Which bytes come for a request of `part`.
async fn open(source: &BlobSource, part: Option<Range<u64>>) -> Result<(Range<u64>, Vec<u8>), RegistryError> {
    let stream = source.open(part, Limits::default().stall_window).await?;
    let range = stream.range();
    collect(stream).await.map(|bytes| (range, bytes))
}

/// A good answer to a request, whatever the range.
fn honest(request: &Request) -> Response {
    let range = request.header("range").and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range.and_then(|(first, last)| first.parse().ok().zip(last.parse().ok())) else {
        return Response::new(200).body(BODY);
    };
    let (first, last): (usize, usize) = (first, last);
    part(&format!("bytes {first}-{last}/10"), &BODY[first..=last])
}

fn part(range: &str, body: &[u8]) -> Response {
    Response::new(206).header("Content-Range", range).body(body)
}

#[tokio::test]
async fn ranges_are_bounded_and_only_sent_where_needed() {
    let server = Server::plain(honest);
    let source = source(&server);
    assert_eq!(open(&source, None).await.expect("whole"), (0..10, BODY.to_vec()));
    assert_eq!(open(&source, Some(4..10)).await.expect("the rest"), (4..10, BODY[4..].to_vec()));
    assert_eq!(open(&source, Some(0..4)).await.expect("the start"), (0..4, BODY[..4].to_vec()));
    let asked: Vec<_> = server.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("bytes=4-9".into()), Some("bytes=0-3".into())]);
    assert!(source.does_ranges());
}

#[tokio::test]
async fn a_part_may_end_early_and_the_whole_may_come_instead() {
    let short = Server::plain(|_| part("bytes 4-6/10", &BODY[4..7]));
    let known = source(&short);
    assert_eq!(open(&known, Some(4..10)).await.expect("a beginning"), (4..7, BODY[4..7].to_vec()));
    let whole = Server::plain(|_| Response::new(200).body(BODY));
    let known = source(&whole);
    assert_eq!(open(&known, Some(4..10)).await.expect("the whole"), (0..10, BODY.to_vec()));
    assert!(!known.does_ranges());
    assert_eq!(open(&known, Some(4..6)).await.expect("the whole"), (0..10, BODY.to_vec()));
    assert_eq!(whole.requests()[1].header("range"), None, "it is remembered");
}

#[tokio::test]
async fn a_host_that_refuses_ranges_or_lies_about_them_is_asked_for_the_whole_once() {
    let refusals: [fn() -> Response; 10] = [
        || Response::new(416).header("Content-Range", "bytes */10"),
        || Response::new(400).body("no ranges here"),
        || part("bytes 5-8/10", &BODY[5..9]),
        || part("bytes 4-9/10", &BODY[4..]),
        || part("bytes 0-9/10", BODY),
        || part("bytes 4-8/11", &BODY[4..9]),
        || part("bytes 4-8/10", &BODY[4..8]).header("Content-Length", "4"),
        || part("nonsense", &BODY[4..9]),
        || Response::new(206).body(&BODY[4..9]),
        || part("bytes 4-8/10", &BODY[4..9]).header("Content-Type", "multipart/byteranges; boundary=x"),
    ];
    for refusal in refusals {
        let server = Server::plain(move |request| match request.header("range") {
            Some(_) => refusal(),
            None => Response::new(200).body(BODY),
        });
        let source = source(&server);
        for _ in 0..2 {
            let opened = open(&source, Some(4..9)).await;
            assert_eq!(opened.expect("the whole"), (0..10, BODY.to_vec()), "{:?}", refusal());
        }
        let ranged = server.requests().iter().filter(|request| request.header("range").is_some()).count();
        assert_eq!((ranged, server.requests().len()), (1, 3), "{:?}", refusal());
    }
}

#[tokio::test]
async fn a_host_that_refuses_either_way_says_so() {
    let server = Server::plain(|_| Response::new(416));
    let error = open(&source(&server), Some(4..9)).await.expect_err("refused");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(416), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn parts_are_of_one_version() {
    let version = Arc::new(AtomicUsize::new(1));
    let served = Arc::clone(&version);
    let server = Server::plain(move |request| {
        let etag = format!("\"{}\"", served.load(Ordering::SeqCst));
        if request.header("if-range").is_some_and(|wanted| wanted != etag) || request.header("range").is_none() {
            return Response::new(200).header("ETag", etag).body(BODY);
        }
        honest(request).header("ETag", etag)
    });
    let source = source(&server);
    assert_eq!(open(&source, Some(0..4)).await.expect("a part").0, 0..4);
    assert_eq!(open(&source, Some(4..8)).await.expect("a part").0, 4..8);
    version.store(2, Ordering::SeqCst);
    assert_eq!(open(&source, Some(8..10)).await.expect("another version").0, 0..10);
    let asked: Vec<_> = server.requests().iter().map(|r| r.header("if-range").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("\"1\"".into()), Some("\"1\"".into())]);

    // One that minds no If-Range is caught by its own words.
    let dates = AtomicUsize::new(1);
    let careless = Server::plain(move |request| {
        honest(request).header("Last-Modified", format!("Sun, 0{} Nov 1994", dates.fetch_add(1, Ordering::SeqCst)))
    });
    let source = self::source(&careless);
    assert_eq!(open(&source, Some(0..4)).await.expect("a part").0, 0..4);
    assert_eq!(open(&source, Some(4..8)).await.expect("the whole").0, 0..10);
}

#[tokio::test]
async fn a_redirect_is_resolved_once_and_again_when_it_expires() {
    let good = Arc::new(AtomicUsize::new(1));
    for expired in [400, 401, 403, 404, 410] {
        let (signed, taken) = (Arc::clone(&good), Arc::clone(&good));
        let storage =
            Server::plain(move |request| match request.path == format!("/blob?sig={}", taken.load(Ordering::SeqCst)) {
                true => honest(request),
                false => Response::new(expired),
            });
        let there = storage.authority();
        let registry = Server::plain(move |request| {
            if request.header("authorization").is_none() {
                return Response::new(401).header("WWW-Authenticate", "Basic realm=x");
            }
            Response::new(307).header("Location", format!("http://{there}/blob?sig={}", signed.load(Ordering::SeqCst)))
        });
        let login = Credentials::anonymous().with_login("user", Secret::new("hunter2"));
        let source = client(login).source(&registry.host(), &registry.reference(), &blob());
        for part in [0..2, 2..4, 4..6] {
            assert_eq!(open(&source, Some(part.clone())).await.expect("a part").0, part);
        }
        assert_eq!(registry.requests().len(), 2, "a challenge, and a redirect");
        good.fetch_add(1, Ordering::SeqCst);
        for part in [6..8, 8..10] {
            assert_eq!(open(&source, Some(part.clone())).await.expect("a part").0, part, "after {expired}");
        }
        assert_eq!(registry.requests().len(), 3, "asked for a new one once, after {expired}");
        assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
        assert!(!format!("{source:?}").contains("sig="), "{source:?}");
    }
}

#[tokio::test]
async fn requests_at_the_same_time_resolve_once() {
    let storage = Server::plain(honest);
    let there = storage.authority();
    let registry = Server::plain(move |_| Response::new(307).header("Location", format!("http://{there}/blob")));
    let source = source(&registry);
    let parts = futures_util::future::join_all((0..5).map(|i| open(&source, Some(i * 2..i * 2 + 2)))).await;
    assert!(parts.iter().all(Result::is_ok), "{parts:?}");
    assert_eq!((registry.requests().len(), storage.requests().len()), (1, 5));
}

#[tokio::test]
async fn a_token_that_expires_between_two_parts_is_renewed() {
    let tokens = AtomicUsize::new(0);
    let good = Arc::new(AtomicUsize::new(1));
    let valid = Arc::clone(&good);
    let server = Server::plain(move |request| {
        if request.path.starts_with("/token") {
            let token = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            return Response::new(200).body(format!(r#"{{"token":"t{token}","expires_in":300}}"#));
        }
        let here = request.header("host").unwrap_or_default();
        match request.header("authorization") {
            Some(token) if token == format!("Bearer t{}", valid.load(Ordering::SeqCst)) => honest(request),
            _ => Response::new(401).header("WWW-Authenticate", format!("Bearer realm=\"http://{here}/token\"")),
        }
    });
    let source = source(&server);
    open(&source, Some(0..4)).await.expect("a part");
    good.store(2, Ordering::SeqCst);
    open(&source, Some(4..8)).await.expect("a part");
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn lies_about_sizes_are_errors() {
    let endless = "b\r\n0123456789!\r\n0\r\n\r\n";
    let chunked = |body: &str| Response::new(200).header("Transfer-Encoding", "chunked").body(body);
    let cases = [
        (part("bytes 4-9/11", &BODY[4..]), Some(4..10), Kind::RegistryUnavailable),
        (Response::new(204), None, Kind::RegistryUnavailable),
        (part("bytes 0-9/10", BODY), None, Kind::RegistryUnavailable),
        (Response::new(200).body("012345678"), None, Kind::DigestMismatch),
        (Response::new(200).body("0123456789!"), None, Kind::DigestMismatch),
        (chunked(endless), None, Kind::DigestMismatch),
        (chunked("4\r\n0123\r\n0\r\n\r\n"), None, Kind::RegistryUnavailable),
        (Response::new(200).body(BODY).cut_after(5), None, Kind::RegistryUnavailable),
        (part("bytes 4-9/10", &BODY[4..]).cut_after(3), Some(4..10), Kind::RegistryUnavailable),
    ];
    for (answer, part, kind) in cases {
        let told = format!("{answer:?}");
        let server = Server::plain(move |_| answer.clone());
        let error = open(&source(&server), part).await.expect_err(&told);
        assert_eq!(error.kind(), kind, "{told}: {error}");
    }
}

#[tokio::test]
async fn a_body_that_only_drips_is_stalled() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let reference = format!("{}/a/b", listener.local_addr().expect("an address")).parse().expect("a reference");
    let dripping = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await.expect("written");
        // Ten a second of which each is progress; all the same too little.
        while stream.write_all(b"0").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let limits = Limits { stall_rate: 1000, stall_window: Duration::from_millis(250), ..Limits::default() };
    let client = Client::new(Credentials::anonymous(), limits).expect("a client");
    let options = crate::registry::HostOptions { plain_http: true, ..Default::default() };
    let host = super::support::host(&reference, &options);
    let error = collect(client.blob(&host, &reference, &blob()).await.expect("a head")).await.expect_err("a drip");
    dripping.abort();
    assert_eq!((error.kind(), error.stage()), (Kind::DeadlineExceeded, Stage::Body), "{error}");
    assert!(matches!(error.reason(), Reason::Stalled { rate, .. } if *rate < 1000), "{error:?}");
}
