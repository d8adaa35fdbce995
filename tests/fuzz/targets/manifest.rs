//! Indexes, manifests and configs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::descriptor::{Annotations, Descriptor, MediaType};
use lighterman::core::digest::Digest;
use lighterman::core::limits::Limits;
use lighterman::core::manifest::{Document, ImageConfig, Index, Manifest, chain_ids};
use lighterman::core::platform::{Matcher, Platform};
use lighterman::core::select::{self, Eligible, Entry};
use lighterman::core::text::steers;
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
    if let Ok(document) = &document {
        no_other_reading(data, document, &limits);
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
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() < 1024 && !text.contains(steers), "{text:?}");
        }
    }
    let config = heap::within(256 * 1024 + 200 * data.len(), || ImageConfig::parse(data, &limits));
    if let Ok(config) = config {
        let candidates = entrypoint::candidates(&config);
        assert!(candidates.len() <= 256);
        assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
    }
});

/// A field in another spelling is the field to readers in Go: either the document is refused then, or it
/// was no field in the first place.
fn no_other_reading(data: &[u8], document: &Document, limits: &Limits) {
    for field in
        ["manifests", "mediaType", "digest", "size", "platform", "config", "layers", "architecture", "os", "urls"]
    {
        let key = format!("\"{field}\":");
        for (at, _) in data.windows(key.len()).enumerate().filter(|(_, window)| *window == key.as_bytes()).take(8) {
            let mut spelled = data.to_vec();
            let letter = &mut spelled[at + 1];
            *letter ^= 0x20;
            if let Ok(read) = Document::parse(&spelled, None, limits) {
                assert_eq!(without_names(read), without_names(document.clone()), "{field} is spelled otherwise");
            }
        }
    }
}

/// Without annotations, whose names are names in any spelling.
fn without_names(document: Document) -> Document {
    let bare = |mut descriptor: Descriptor| {
        descriptor.annotations.clear();
        descriptor
    };
    match document {
        Document::Index(index) => Document::Index(Index {
            manifests: index.manifests.into_iter().map(bare).collect(),
            annotations: Annotations::default(),
        }),
        Document::Manifest(manifest) => Document::Manifest(Manifest {
            config: bare(manifest.config),
            layers: manifest.layers.into_iter().map(bare).collect(),
            annotations: Annotations::default(),
        }),
    }
}

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
