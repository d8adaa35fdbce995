//! A small image with busybox in it, and a registry that serves it on loopback.

use std::collections::BTreeMap;
use std::io::Write as _;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::{Digest, Verified};
use lighterman::core::limits::Limits;
use lighterman::core::manifest::{Document, ImageConfig, Index, Manifest};
use lighterman::core::platform::Platform;
use lighterman::core::reference::Reference;
use lighterman::store::staging::{Staged, Turn};
use lighterman::store::{Belongs, Lease, Role, Store, StoreError};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// This host's architecture as images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An index with an entry for this host and one for a platform that nobody fetches.
#[derive(Debug, Clone)]
pub(super) struct Image {
    layers: Vec<(String, Vec<u8>)>,
    diff_ids: Vec<Digest>,
    argv: Vec<String>,
    /// Every blob but the other platform's.
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    pub(super) root: Descriptor,
    pub(super) index: Index,
    pub(super) chosen: Descriptor,
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
}

impl Image {
    /// Two layers, busybox and its links; `argv` is what a container of it runs.
    pub(super) fn build(argv: &[&str]) -> Self {
        let busybox = crate::support::fixture::busybox_program(crate::support::host());
        let tars = [tar(|tar| file(tar, "bin/busybox", &busybox)), tar(|tar| links(tar, &["uname", "echo", "true"]))];
        let diff_ids = tars.iter().map(|tar| Digest::of(tar)).collect();
        let layers = tars.iter().map(|tar| (LAYER.to_owned(), gzip(tar))).collect();
        Self::assemble(layers, diff_ids, argv.iter().map(|word| (*word).to_owned()).collect())
    }

    pub(super) fn with_wrong_diff_id(self) -> Self {
        let diff_ids = vec![self.diff_ids[0].clone(), Digest::of(b"something else")];
        Self::assemble(self.layers, diff_ids, self.argv)
    }

    pub(super) fn without_last_diff_id(mut self) -> Self {
        self.diff_ids.pop();
        Self::assemble(self.layers, self.diff_ids, self.argv)
    }

    pub(super) fn with_layer(mut self, content: &[u8]) -> Self {
        self.layers[1].1 = content.to_vec();
        Self::assemble(self.layers, self.diff_ids, self.argv)
    }

    pub(super) fn with_layer_type(mut self, media_type: &str) -> Self {
        self.layers[1].0 = media_type.into();
        Self::assemble(self.layers, self.diff_ids, self.argv)
    }

    fn assemble(layers: Vec<(String, Vec<u8>)>, diff_ids: Vec<Digest>, argv: Vec<String>) -> Self {
        let mut blobs = BTreeMap::new();
        let mut add = |media_type: &str, content: Vec<u8>| {
            let descriptor = descriptor(media_type, &content);
            blobs.insert(descriptor.digest.clone(), Bytes::from(content));
            descriptor
        };
        let layer_descriptors: Vec<Descriptor> = layers.iter().map(|(kind, blob)| add(kind, blob.clone())).collect();
        let config = json!({
            "os": "linux", "architecture": architecture(),
            "config": {"Cmd": argv, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config_bytes = to_bytes(&config);
        let config = ImageConfig::parse(&config_bytes, &Limits::default()).expect("a config");
        let config_descriptor = add(CONFIG, config_bytes);
        let manifest_bytes = to_bytes(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config_descriptor, "layers": layer_descriptors,
        }));
        let Ok(Document::Manifest(manifest)) = Document::parse(&manifest_bytes, None, &Limits::default()) else {
            panic!("not a manifest");
        };
        let mut chosen = add(MANIFEST, manifest_bytes);
        chosen.platform = Some(Platform::linux(architecture(), ""));
        let mut other = descriptor(MANIFEST, b"of another platform");
        other.platform = Some(Platform::linux("s390x", ""));
        let index_bytes = to_bytes(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, chosen]}));
        let Ok(Document::Index(index)) = Document::parse(&index_bytes, None, &Limits::default()) else {
            panic!("not an index");
        };
        let root = add(INDEX, index_bytes);
        Self { layers, diff_ids, argv, blobs, root, index, chosen, manifest, config }
    }
}

pub(super) fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::parse(media_type), Digest::of(content), content.len() as u64)
}

fn to_bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("JSON")
}

fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().expect("writes to memory")
}

fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, content).expect("writes to memory");
}

fn links(tar: &mut tar::Builder<Vec<u8>>, names: &[&str]) {
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").expect("writes to memory");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("writes to memory");
    encoder.finish().expect("writes to memory")
}

/// A blob as the engine leaves it: whole, verified, staged.
pub(super) async fn stage(store: &dyn Store, content: &[u8]) -> Verified<Staged> {
    let descriptor = descriptor("application/octet-stream", content);
    let Turn::Ours(partial) = store.staging().begin(&descriptor).expect("begins") else {
        panic!("the blob is taken");
    };
    partial.write_at(0, content, "here").expect("writes");
    partial.verify().await.expect("is whole")
}

/// Everything but names and snapshots, in the order of a pull.
pub(super) async fn write(
    store: &dyn Store,
    lease: &Lease,
    image: &Image,
    source: &Reference,
) -> Result<(), StoreError> {
    let document = |digest: &Digest| Verified::seal(image.blobs[digest].clone());
    let belongs = |role| Belongs { role, source };
    store.put(lease, document(&image.root.digest), belongs(Role::Index(&image.index))).await?;
    store.put(lease, document(&image.chosen.digest), belongs(Role::Manifest(&image.manifest))).await?;
    let layers = image.manifest.layers.iter().map(|layer| (layer, Role::Layer(None)));
    for (blob, role) in std::iter::once((&image.manifest.config, Role::Config)).chain(layers) {
        if !store.claim(lease, blob, belongs(role)).await? {
            store.adopt(lease, &stage(store, &image.blobs[&blob.digest]).await, belongs(role)).await?;
        }
    }
    Ok(())
}

/// A registry of one image, read-only, on loopback.
#[derive(Debug)]
pub(super) struct Registry {
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    pub(super) async fn serve(image: &Image) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let router = Router::new().route("/v2/team/app/{kind}/{name}", get(serve)).with_state(image.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { port, server }
    }

    pub(super) fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(State(image): State<Image>, Path((kind, name)): Path<(String, String)>) -> Response {
    let digest = if name == "v1" { Ok(image.root.digest.clone()) } else { name.parse() };
    let Some(content) = digest.as_ref().ok().and_then(|digest: &Digest| image.blobs.get(digest)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let media_type = match (kind.as_str(), digest.as_ref() == Ok(&image.root.digest)) {
        ("manifests", true) => INDEX,
        ("manifests", false) => MANIFEST,
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_LENGTH, content.len().to_string()),
        (header::HeaderName::from_static("docker-content-digest"), digest.expect("was found").to_string()),
    ];
    (headers, content.clone()).into_response()
}
