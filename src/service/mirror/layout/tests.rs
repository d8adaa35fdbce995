use std::fs;

use http::StatusCode;
use reqwest::Client;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A layout with one image, being served on a free port.
struct Served {
    folder: tempfile::TempDir,
    url: String,
    client: Client,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
const TYPED: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json",
"manifests":[]}"#;

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("created");
        for content in [MANIFEST, TYPED, "0123456789", ""] {
            fs::write(blobs.join(Digest::of(content.as_bytes()).hex()), content).expect("written");
        }
        let entry = |content: &str, name: &str| {
            let mut entry =
                Descriptor::new(MediaType::OciManifest, Digest::of(content.as_bytes()), content.len() as u64);
            entry.annotations.insert(REF_NAME.into(), name.into());
            entry
        };
        let manifests = [entry(MANIFEST, "team/app:1.0"), entry(TYPED, "list:latest"), entry("gone", "gone:latest")];
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(folder.path().join("index.json"), index.to_string()).expect("written");

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/v2", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let server = tokio::spawn(serve(listener, folder.path().into(), shutdown));
        Self { folder, url, client: client(), stop, server }
    }

    async fn ask(&self, method: Method, path: &str, range: Option<&str>) -> reqwest::Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send().await.expect("an answer")
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.ask(Method::GET, path, None).await
    }

    async fn stop(self) {
        self.stop.send(()).expect("the server is waiting for this");
        self.server.await.expect("no panic").expect("no error");
    }
}

/// A client that would speak TLS as the program's own does, and does not use proxies.
fn client() -> Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(config).no_proxy().build().expect("a client")
}

fn field<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn path(kind: &str, content: &str) -> String {
    format!("/team/app/{kind}/{}", Digest::of(content.as_bytes()))
}

#[tokio::test]
async fn serves_manifests_by_tag_and_digest() {
    let served = Served::start().await;
    let digest = Digest::of(MANIFEST.as_bytes()).to_string();
    for path in ["/team/app/manifests/1.0".to_owned(), path("manifests", MANIFEST)] {
        for method in [Method::GET, Method::HEAD] {
            let response = served.ask(method.clone(), &path, None).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(field(&response, "content-type"), "application/vnd.oci.image.manifest.v1+json");
            assert_eq!(field(&response, "docker-content-digest"), digest);
            assert_eq!(field(&response, "etag"), format!("\"{digest}\""));
            assert_eq!(field(&response, "content-length"), MANIFEST.len().to_string());
            let expected = if method == Method::GET { MANIFEST } else { "" };
            assert_eq!(response.text().await.expect("a body"), expected);
        }
    }
    let list = served.get("/list/manifests/latest").await;
    assert_eq!(field(&list, "content-type"), "application/vnd.docker.distribution.manifest.list.v2+json");
    let base = served.get("/").await;
    assert_eq!((base.status(), field(&base, "docker-distribution-api-version")), (StatusCode::OK, "registry/2.0"));
    served.stop().await;
}

#[tokio::test]
async fn serves_blobs_whole_and_in_part() {
    let served = Served::start().await;
    let digits = path("blobs", "0123456789");
    for (method, range, status, content_range, body) in [
        (Method::GET, None, 200, "", "0123456789"),
        (Method::HEAD, None, 200, "", ""),
        (Method::GET, Some("bytes=2-4"), 206, "bytes 2-4/10", "234"),
        (Method::GET, Some("bytes=7-"), 206, "bytes 7-9/10", "789"),
        (Method::GET, Some("bytes=-1"), 206, "bytes 9-9/10", "9"),
        (Method::GET, Some("bytes=0-1,3-4"), 200, "", "0123456789"),
        (Method::HEAD, Some("bytes=2-4"), 200, "", ""),
    ] {
        let response = served.ask(method.clone(), &digits, range).await;
        assert_eq!(
            (response.status().as_u16(), field(&response, "content-range")),
            (status, content_range),
            "{range:?}"
        );
        let length = if method == Method::HEAD { 10 } else { body.len() };
        assert_eq!(field(&response, "content-length"), length.to_string(), "{method} {range:?}");
        assert_eq!((field(&response, "accept-ranges"), field(&response, "content-encoding")), ("bytes", ""));
        assert_eq!(response.text().await.expect("a body"), body);
    }
    let whole = served.ask(Method::GET, &digits, Some("bytes=0-9")).await;
    assert_eq!((whole.status().as_u16(), field(&whole, "content-range")), (206, "bytes 0-9/10"));
    let beyond = served.ask(Method::GET, &digits, Some("bytes=10-")).await;
    assert_eq!((beyond.status().as_u16(), field(&beyond, "content-range")), (416, "bytes */10"));
    let empty = served.get(&path("blobs", "")).await;
    assert_eq!((empty.status().as_u16(), field(&empty, "content-length")), (200, "0"));
    served.stop().await;
}

#[tokio::test]
async fn refuses_with_the_codes_of_the_specification() {
    let served = Served::start().await;
    fs::create_dir(served.folder.path().join("blobs/sha256").join(Digest::of(b"folder").hex())).expect("created");
    for (method, path, status, code) in [
        (Method::GET, "/team/app/manifests/2.0", 404, "MANIFEST_UNKNOWN"),
        (Method::GET, "/app/manifests/1.0", 404, "MANIFEST_UNKNOWN"),
        (Method::GET, "/gone/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        (Method::GET, &path("manifests", "absent"), 404, "MANIFEST_UNKNOWN"),
        (Method::GET, &path("manifests", "0123456789"), 404, "MANIFEST_UNKNOWN"),
        (Method::GET, &path("blobs", "absent"), 404, "BLOB_UNKNOWN"),
        (Method::GET, &path("blobs", "folder"), 404, "BLOB_UNKNOWN"),
        (Method::GET, "/team/app/blobs/sha256:00", 400, "DIGEST_INVALID"),
        (Method::GET, "/Team/manifests/1.0", 400, "NAME_INVALID"),
        (Method::GET, "/team/app/tags/list", 404, "UNSUPPORTED"),
        (Method::PUT, "/team/app/manifests/1.0", 405, "UNSUPPORTED"),
    ] {
        let response = served.ask(method.clone(), path, None).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        assert_eq!(field(&response, "allow"), if status == 405 { "GET, HEAD" } else { "" });
        let body: serde_json::Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
        assert_eq!(body["errors"][0]["code"], code, "{method} {path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn keeps_paths_of_this_machine_to_itself() {
    let served = Served::start().await;
    fs::write(served.folder.path().join("index.json"), "{}").expect("written");
    let response = served.get("/team/app/manifests/1.0").await;
    assert_eq!(response.status(), 500);
    let body = response.text().await.expect("a body");
    assert!(body.contains("UNKNOWN") && !body.contains("index.json"), "{body}");
    served.stop().await;
}
