//! Indexes, manifests and configs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::Digest;
use lighterman::core::limits::Limits;
use lighterman::core::manifest::{Document, ImageConfig, chain_ids};
use lighterman::core::platform::{Matcher, Platform};
use lighterman::core::select::{self, Eligible, Entry};
use lighterman::diagnose::checks::{index, node};
use lighterman::diagnose::entrypoint;
use lighterman::diagnose::fleet::{Fleet, Image};
use lighterman::host::Node;
use lighterman_fuzz::heap;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { document_bytes: 64 * 1024, index_entries: 16, layers: 16, ..Limits::default() };
    let document = heap::within(256 * 1024 + 200 * data.len(), || Document::parse(data, None, &limits));
    for announced in [
        MediaType::OciIndex,
        MediaType::OciManifest,
        MediaType::DockerManifestList,
        MediaType::DockerManifest,
        MediaType::Other("text/html".into()),
    ] {
        // Who announces a document may be believed or contradicted, but never changes what is in it.
        if let (Ok(told), Ok(document)) = (Document::parse(data, Some(&announced), &limits), &document) {
            assert_eq!(&told, document, "announced as {announced}");
        }
    }
    match &document {
        Ok(Document::Index(index)) => {
            assert!(index.manifests.len() <= limits.index_entries);
            assert!(!document_type(&document, data).is_some_and(|kind| kind.is_manifest()));
            choose(index.manifests.iter().cloned().map(Entry::unread).collect());
        }
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= limits.layers);
            assert!(!document_type(&document, data).is_some_and(|kind| kind.is_index()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let config = heap::within(256 * 1024 + 200 * data.len(), || ImageConfig::parse(data, &limits));
    if let Ok(config) = config {
        let candidates = entrypoint::candidates(&config);
        assert!(candidates.len() <= 256);
        assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
    }
});

fn document_type(document: &Result<Document, impl Sized>, data: &[u8]) -> Option<MediaType> {
    document.as_ref().ok().map(|document| document.media_type(data))
}

/// Whatever the entries: what is chosen is one of them, and every entry is explained.
fn choose(entries: Vec<Entry>) {
    let matcher = Matcher::only(&Platform::linux("arm64", ""));
    for eligible in [Eligible::Images, Eligible::Everything] {
        if let Some(path) = select::choose(&entries, &matcher, eligible) {
            assert!(select::at(&entries, &path).is_some());
        }
    }
    let rows = select::explain(&entries, &matcher, None);
    assert_eq!(rows.len(), entries.len());

    let nodes = ["raspberry-pi-4", "linux/amd64/v3"].map(|name| Node::known(name).expect("is known"));
    let root = Descriptor::new(MediaType::OciIndex, Digest::of(b"root"), 7);
    let image = Image { root: &root, entries: &entries, contents: &[] };
    assert_eq!(Fleet::of(image, &nodes).nodes.len(), nodes.len());
    let reference = "registry.example/app".parse().expect("a reference");
    for finding in index::check(&reference, image, &nodes).into_iter().chain(node::check(image, &nodes)) {
        assert!(!finding.message.is_empty() && !finding.message.contains(['\x1b', '\0']), "{:?}", finding.message);
    }
}
