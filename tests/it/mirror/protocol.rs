//! The protocol, field by field.

use super::{blob_path, image, layer};
use crate::support::fixture::Image;
use crate::support::liar::{Liar, Reply};
use crate::support::mirror::{Answer, MirrorServer, Setup};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

struct Bed {
    image: Image,
    registry: Liar,
    mirror: MirrorServer,
}

impl Bed {
    fn new() -> Self {
        let image = image(1, 300_000);
        let registry = Liar::serving(&image, "team/app:1");
        let mirror = MirrorServer::allowing(&[&registry.address()]);
        Self { image, registry, mirror }
    }

    fn manifest(&self, target: &str) -> String {
        format!("/v2/team/app/manifests/{target}?ns={}", self.registry.address())
    }

    fn layer(&self) -> String {
        blob_path("team/app", layer(&self.image), &self.registry.address())
    }
}

#[test]
fn says_that_it_is_a_registry() {
    let mirror = MirrorServer::allowing(&[]);
    for path in ["/v2/", "/v2"] {
        let answer = mirror.get(path, &[]);
        assert_eq!((answer.status, answer.field("docker-distribution-api-version")), (200, "registry/2.0"));
        // Clients such as skopeo keep their credentials to themselves where nobody says that.
        assert_eq!(answer.field("www-authenticate"), "Basic realm=\"docker.io\"");
    }
}

#[test]
fn manifests_come_with_all_that_clients_go_by() {
    let bed = Bed::new();
    let root = &bed.image.root;
    for target in ["1", &root.digest, &root.digest.replace(':', "%3A")] {
        for method in ["HEAD", "GET", "GET"] {
            let answer = bed.mirror.open(method, &bed.manifest(target), &[("accept-encoding", "gzip, zstd")]).finish();
            assert_eq!(answer.status, 200, "{method} {target}: {answer:?}");
            assert_eq!(answer.field("content-type"), root.media_type);
            assert_eq!(answer.field("docker-content-digest"), root.digest);
            assert_eq!(answer.field("etag"), format!("\"{}\"", root.digest));
            assert_eq!(answer.field("content-length"), root.bytes.len().to_string());
            assert_eq!(answer.field("content-encoding"), "");
            let expected = if method == "GET" { &root.bytes[..] } else { b"" };
            assert_eq!(answer.body, expected);
        }
    }
    let asked = bed.registry.requests();
    let gets = asked.iter().filter(|request| request.method == "GET").count();
    assert_eq!(gets, 1, "the document is fetched once: {asked:?}");
    let tags = bed.registry.requests_for("HEAD /v2/team/app/manifests/1");
    assert_eq!(tags.len(), 3, "what a tag stands for is asked every time");
    assert!(asked.iter().all(|request| request.header("accept-encoding") == Some("identity")));
}

#[test]
fn blobs_come_whole_and_in_parts() {
    let bed = Bed::new();
    let bytes = &layer(&bed.image).bytes;
    let digest = &layer(&bed.image).digest;
    let (size, etag) = (bytes.len(), format!("\"{digest}\""));
    let same: &[(&str, &str)] = &[("range", "bytes=10-19"), ("if-range", &etag)];
    let other: &[(&str, &str)] = &[("range", "bytes=10-19"), ("if-range", "\"sha256:00\"")];
    let dated: &[(&str, &str)] = &[("range", "bytes=10-19"), ("if-range", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let range = |range: &'static str| vec![("range", range)];
    for (headers, part) in [
        (vec![], None),
        (range("bytes=0-0"), Some((0, 1))),
        (range("bytes=100000-"), Some((100_000, size))),
        (range("bytes=-7"), Some((size - 7, size))),
        (range("bytes=5-999999999"), Some((5, size))),
        (range("bytes=0-1,5-6"), None),
        (range("bytes=9-5"), None),
        (range("lines=0-1"), None),
        (same.to_vec(), Some((10, 20))),
        (other.to_vec(), None),
        (dated.to_vec(), None),
    ] {
        let answer = bed.mirror.get(&bed.layer(), &headers);
        let (from, to) = part.unwrap_or((0, size));
        let range = part.map(|_| format!("bytes {from}-{}/{size}", to - 1)).unwrap_or_default();
        assert_eq!(answer.status, if part.is_some() { 206 } else { 200 }, "{headers:?}");
        assert_eq!(answer.field("content-range"), range, "{headers:?}");
        assert_eq!(answer.field("content-length"), (to - from).to_string(), "{headers:?}");
        assert_eq!(answer.field("accept-ranges"), "bytes");
        assert_eq!(answer.field("docker-content-digest"), digest);
        assert_eq!(answer.field("etag"), etag);
        assert_eq!(answer.field("content-type"), "application/octet-stream");
        assert_eq!(answer.field("content-encoding"), "");
        assert!(answer.body == bytes[from..to], "{headers:?}: other bytes");
    }
    let head = bed.mirror.head(&bed.layer(), &[("range", "bytes=0-0")]);
    assert_eq!((head.status, head.field("content-length")), (200, &*size.to_string()));
    let beyond = bed.mirror.get(&bed.layer(), &[("range", &format!("bytes={size}-"))]);
    assert_eq!((beyond.status, beyond.field("content-range")), (416, &*format!("bytes */{size}")));
    let fetched = bed.registry.requests_for("GET /v2/team/app/blobs/");
    assert_eq!(fetched.len(), 1, "{fetched:?}");
}

#[test]
fn a_head_of_a_blob_fetches_nothing() {
    let bed = Bed::new();
    let head = bed.mirror.head(&bed.layer(), &[]);
    assert_eq!((head.status, head.field("docker-content-digest")), (200, &*layer(&bed.image).digest));
    assert!(bed.registry.requests_for("GET ").is_empty());
}

#[test]
fn a_registry_that_does_not_answer_heads_of_blobs_is_asked_for_a_byte() {
    let bed = Bed::new();
    bed.registry.always("HEAD /v2/team/app/blobs/", Reply::status(405));
    let answer = bed.mirror.get(&bed.layer(), &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.body == layer(&bed.image).bytes);
}

#[test]
fn errors_are_the_documents_of_the_specification() {
    let bed = Bed::new();
    let ns = bed.registry.address();
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (method, path, status, code) in [
        ("GET", "/".to_owned(), 404, "UNSUPPORTED"),
        ("GET", "/v2/_catalog".into(), 404, "UNSUPPORTED"),
        ("PUT", bed.manifest("1"), 405, "UNSUPPORTED"),
        ("POST", "/v2/team/app/blobs/uploads/".into(), 405, "UNSUPPORTED"),
        ("GET", "/v2/Team/manifests/1".into(), 400, "NAME_INVALID"),
        ("GET", format!("/v2/team/app/manifests/1?ns={ns}&ns=quay.io"), 400, "NAME_INVALID"),
        ("GET", "/v2/team/app/manifests/1?ns=a/b".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/team/app/manifests/1?ns=user@a.example".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/team/app/manifests/1?ns=registry".into(), 400, "NAME_INVALID"),
        ("GET", format!("/v2/team/app/blobs/sha256:00?ns={ns}"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/team/app/tags/list?n=x&ns={ns}"), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", bed.manifest("2"), 404, "MANIFEST_UNKNOWN"),
        ("GET", bed.manifest(&unknown), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/team/app/blobs/{unknown}?ns={ns}"), 404, "BLOB_UNKNOWN"),
        ("GET", format!("/v2/team/other/tags/list?ns={ns}"), 404, "NAME_UNKNOWN"),
    ] {
        let answer = bed.mirror.open(method, &path, &[]).finish();
        assert_eq!((answer.status, &*answer.code()), (status, code), "{method} {path}");
        assert_eq!(answer.field("allow"), if status == 405 { "GET, HEAD" } else { "" });
    }
}

#[test]
fn what_ails_upstream_is_told_in_a_status_that_sends_clients_on() {
    for (reply, status, code) in [
        (Reply::status(500), 502, "UNKNOWN"),
        (Reply::Status(429, vec![("retry-after", "100".into())], ""), 429, "TOOMANYREQUESTS"),
        (Reply::status(403), 401, "UNAUTHORIZED"),
    ] {
        let bed = Bed::new();
        bed.registry.always("HEAD ", reply);
        let answer = bed.mirror.get(&bed.manifest("1"), &[]);
        assert_eq!((answer.status, &*answer.code()), (status, code), "{answer:?}");
        assert_eq!(answer.field("retry-after"), if status == 429 { "100" } else { "" });
    }
    let bed = Bed::new();
    bed.registry.always("GET /v2/team/app/blobs/", Reply::status(404));
    assert_eq!(bed.mirror.get(&bed.layer(), &[]).status, 404, "told by a status, not by a broken connection");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let mirror = MirrorServer::allowing(&[&nobody.to_string()]);
    assert_eq!(mirror.get(&format!("/v2/app/manifests/1?ns={nobody}"), &[]).status, 502);
}

#[test]
fn tags_are_listed_page_by_page() {
    let bed = Bed::new();
    let next = vec![("link", "</v2/team/app/tags/list?last=b&n=2>; rel=\"next\"".to_owned())];
    bed.registry.plan("GET /v2/team/app/tags/list?n=2", [Reply::Status(200, next, r#"{"name":"x","tags":["a","b"]}"#)]);
    let last = Reply::Status(200, vec![], r#"{"name":"x","tags":null}"#);
    bed.registry.plan("GET /v2/team/app/tags/list?last=b&n=2", [last]);
    let ns = bed.registry.address();
    let first = bed.mirror.get(&format!("/v2/team/app/tags/list?n=2&ns={ns}"), &[]);
    assert_eq!((first.status, first.field("content-type")), (200, "application/json"));
    assert_eq!(first.json(), serde_json::json!({"name": "team/app", "tags": ["a", "b"]}));
    let link = first.field("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<'));
    let second = bed.mirror.get(link.expect("a link to the next page"), &[]);
    assert_eq!(second.json(), serde_json::json!({"name": "team/app", "tags": []}));
    assert_eq!(second.field("link"), "");
    assert_eq!(bed.registry.unused(), 0);
}

fn types(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.field("content-type")), (200, INDEX), "{answer:?}");
    let manifests = answer.json()["manifests"].as_array().expect("a list").clone();
    manifests.iter().map(|entry| entry["artifactType"].as_str().expect("a type").to_owned()).collect()
}

#[test]
fn referrers_are_listed_and_filtered_with_and_without_the_api() {
    const TWO: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
        {"artifactType":"a/sbom","digest":"x"},{"artifactType":"a/signature","digest":"y"}]}"#;
    let digest = format!("sha256:{}", "1".repeat(64));
    let fallback = format!("GET /v2/team/app/manifests/sha256-{}", "1".repeat(64));
    for has_api in [true, false] {
        let bed = Bed::new();
        let list = Reply::Status(200, vec![("content-type", INDEX.into())], TWO);
        let place = if has_api { format!("GET /v2/team/app/referrers/{digest}") } else { fallback.clone() };
        bed.registry.always(&place, list);
        let path = format!("/v2/team/app/referrers/{digest}?ns={}", bed.registry.address());
        assert_eq!(types(&bed.mirror.get(&path, &[])), ["a/sbom", "a/signature"]);
        let filtered = bed.mirror.get(&format!("{path}&artifactType=a%2Fsbom"), &[]);
        assert_eq!(types(&filtered), ["a/sbom"]);
        assert_eq!(filtered.field("oci-filters-applied"), "artifactType");
    }
    let bed = Bed::new();
    let none = bed.mirror.get(&format!("/v2/team/app/referrers/{digest}?ns={}", bed.registry.address()), &[]);
    assert_eq!(types(&none), Vec::<String>::new());
}

#[test]
fn a_request_that_names_no_registry_means_the_default_one() {
    let image = image(2, 1000);
    let registry = Liar::serving(&image, "app:1");
    let address = registry.address();
    let mirror = MirrorServer::start(&Setup { upstream: Some(address), ..Setup::default() });
    assert_eq!(mirror.get("/v2/app/manifests/1", &[]).status, 200);
}

#[test]
fn a_tag_that_moves_while_it_is_asked_for_stands_for_one_whole_thing() {
    let (before, after) = (image(30, 1000), image(31, 1000));
    let head = |image: &Image| {
        let root = &image.root;
        let fields = [("content-type", &root.media_type), ("docker-content-digest", &root.digest)];
        let fields = fields.into_iter().map(|(name, value)| (name, value.clone()));
        Reply::Status(200, fields.chain([("content-length", root.bytes.len().to_string())]).collect(), "")
    };
    for is_still_there in [true, false] {
        let registry = Liar::serving(&after, "app:1");
        if is_still_there {
            registry.add(&before, "app:old");
        }
        registry.always("HEAD /v2/app/manifests/1", head(&before));
        let mirror = MirrorServer::allowing(&[&registry.address()]);
        let answer = mirror.get(&format!("/v2/app/manifests/1?ns={}", registry.address()), &[]);
        // The bytes of one never come under the digest of the other.
        let served = if is_still_there { &before } else { &after };
        assert_eq!((answer.status, answer.field("docker-content-digest")), (200, &*served.root.digest));
        assert!(answer.body == served.root.bytes);
    }
}
