//! Images as nobody should publish them, and as people do.

use serde_json::{Value, json};

use super::fixture::{Blob, Flavour, Image, Manifest, platform, tiny};
#[cfg(feature = "containerd")]
use super::fixture::{Layer, Tree};

/// A document under a name, with nothing below.
pub(crate) fn document(media_type: &str, bytes: impl Into<bytes::Bytes>) -> Image {
    Image { root: Blob::new(media_type, bytes), documents: Vec::new(), manifests: Vec::new() }
}

/// An index whose entries say nothing about their platform; only the configs do.
pub(crate) fn without_platforms(manifests: &[Manifest]) -> Image {
    let entries: Vec<Value> = manifests.iter().map(|m| m.blob.descriptor()).collect();
    Image::index(Flavour::Oci, manifests, &entries)
}

/// An index that holds another index, which holds the manifests.
pub(crate) fn nested(manifests: &[Manifest]) -> Image {
    let inner = Image::multi(Flavour::Oci, manifests);
    let mut image = Image::index(Flavour::Oci, manifests, &[inner.root.descriptor()]);
    image.documents.push(inner.root);
    image
}

/// An index in which each manifest is followed by BuildKit's attestation of it.
pub(crate) fn attested(manifests: &[Manifest]) -> Image {
    let unknown = json!({ "os": "unknown", "architecture": "unknown" });
    let mut entries = Vec::new();
    let mut all = manifests.to_vec();
    for manifest in manifests {
        let mut attestation = tiny("unknown", "");
        attestation.platform = unknown.clone();
        let mut entry = attestation.entry();
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": manifest.blob.digest,
        });
        entries.extend([entry, manifest.entry()]);
        all.push(attestation);
    }
    Image::index(Flavour::Oci, &all, &entries)
}

/// An index with levels of amd64: the plain one and v2, v3.
pub(crate) fn isa_levels() -> Image {
    Image::multi(Flavour::Oci, &[tiny("amd64", ""), tiny("amd64", "v2"), tiny("amd64", "v3")])
}

/// The blog post's mistake: programs of one machine declared as another's, in entry and config.
pub(crate) fn declared_as(manifest: &Manifest, arch: &str, variant: &str) -> Value {
    let mut entry = manifest.blob.descriptor();
    entry["platform"] = platform(arch, variant);
    entry
}

/// A Docker schema 1 document.
pub(crate) fn schema1() -> Image {
    let body = json!({
        "schemaVersion": 1, "name": "app", "tag": "old", "architecture": "amd64",
        "fsLayers": [{ "blobSum": "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4" }],
        "history": [{ "v1Compatibility": "{}" }],
    });
    document("application/vnd.docker.distribution.manifest.v1+prettyjws", body.to_string())
}

/// A document that can be read as a manifest and as an index.
pub(crate) fn ambiguous() -> Image {
    let manifest = tiny("amd64", "");
    let mut body: Value = serde_json::from_slice(&manifest.blob.bytes).expect("JSON of ours");
    body["manifests"] = json!([manifest.entry()]);
    document(Flavour::Oci.manifest(), body.to_string())
}

/// An index whose list is there under two names, of which readers in Go take the second.
pub(crate) fn two_cases() -> Image {
    let entries = json!([tiny("amd64", "").entry()]);
    let body = json!({ "schemaVersion": 2, "manifests": entries, "Manifests": [tiny("arm64", "").entry()] });
    document(Flavour::Oci.index(), body.to_string())
}

/// A manifest that has its config twice.
pub(crate) fn repeated() -> Image {
    let manifest = tiny("amd64", "");
    let text = String::from_utf8(manifest.blob.bytes.to_vec()).expect("JSON of ours");
    let again =
        format!("{{ \"config\": {}, {}", manifest.config.descriptor(), text.trim_start().trim_start_matches('{'));
    document(Flavour::Oci.manifest(), again)
}

/// An index that says `text` where one word is expected, of itself or of its only entry.
pub(crate) fn saying(text: &str, place: &str) -> Image {
    let manifest = tiny("amd64", "");
    let mut body = json!({ "schemaVersion": 2, "manifests": [manifest.entry()] });
    match place {
        "root" => body["mediaType"] = json!(text),
        "mediaType" => body["manifests"][0][place] = json!(text),
        "os.features" => body["manifests"][0]["platform"][place] = json!([text]),
        place => body["manifests"][0]["platform"][place] = json!(text),
    }
    document(Flavour::Oci.index(), body.to_string())
}

/// An image that says `text` wherever it may say what it likes.
pub(crate) fn talkative(text: &str, arch: &str) -> Image {
    let edit = |blob: &Blob, change: &dyn Fn(&mut Value)| {
        let mut document = serde_json::from_slice(&blob.bytes).expect("JSON of ours");
        change(&mut document);
        Blob::json(&blob.media_type, &document)
    };
    let said = json!({ (text): text, "org.opencontainers.image.title": text });
    let mut manifest = tiny(arch, "");
    manifest.config = edit(&manifest.config, &|config| {
        config["created"] = json!(text);
        config["author"] = json!(text);
        config["history"] = json!([{ "created_by": text, "comment": text }]);
        config["config"] = json!({
            "Entrypoint": [format!("/{text}"), text], "Cmd": [text], "Env": [text], "WorkingDir": text, "Labels": said,
        });
    });
    manifest.blob = edit(&manifest.blob, &|document| {
        document["config"] = manifest.config.descriptor();
        document["layers"][0]["annotations"] = said.clone();
        document["annotations"] = said.clone();
    });
    let mut entry = manifest.entry();
    entry["annotations"] = said.clone();
    let mut image = Image::index(Flavour::Oci, std::slice::from_ref(&manifest), &[entry]);
    image.root = edit(&image.root, &|document| document["annotations"] = said.clone());
    image
}

/// A manifest of more layers than run anywhere.
#[cfg(feature = "containerd")]
pub(crate) fn too_many_layers(arch: &str) -> Image {
    let layers: Vec<_> = (0..501).map(|n| Tree::new().file(&n.to_string(), 0o644, b"").layer()).collect();
    Image::single(Manifest::new(Flavour::Oci, &platform(arch, ""), &layers, ("/none", &[])))
}

/// A layer that begins with a header that is larger than any reader takes.
#[cfg(feature = "containerd")]
pub(crate) fn bloated() -> Layer {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(2 << 20);
    archive.append_data(&mut header, "pax", &vec![b' '; 2 << 20][..]).expect("memory");
    Layer::gzip(&archive.into_inner().expect("memory"))
}

/// An index of more than 4 MiB that is well formed otherwise.
pub(crate) fn oversized(manifest: &Manifest) -> Image {
    let mut image = Image::multi(Flavour::Oci, std::slice::from_ref(manifest));
    let mut body: Value = serde_json::from_slice(&image.root.bytes).expect("JSON of ours");
    body["annotations"] = json!({ "padding": "x".repeat(4 << 20) });
    image.root = Blob::new(Flavour::Oci.index(), body.to_string());
    image
}

/// An index whose entry for this manifest is off by so many bytes.
pub(crate) fn lying_about_size(manifest: &Manifest, off: i64) -> Image {
    let mut entry = manifest.entry();
    entry["size"] = json!(i64::try_from(manifest.blob.bytes.len()).expect("a small document") + off);
    Image::index(Flavour::Oci, std::slice::from_ref(manifest), &[entry])
}
