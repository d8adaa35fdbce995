//! Images as nobody should publish them, and as people do.

use serde_json::{Value, json};

use super::fixture::{Blob, Flavour, Image, Manifest, platform, tiny};

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
