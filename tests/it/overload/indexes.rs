//! Indexes at every limit, and one step beyond it.

use serde_json::{Value, json};

use crate::support::fixture::{Blob, Flavour, Image, Manifest, digest, platform, tiny};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, Outcome, exit};
use crate::support::{files_below, host};

/// `Limits`, as they are unless somebody changes them.
const ENTRIES: usize = 1000;
const DOCUMENT: usize = 4 << 20;
const DOCUMENTS: usize = 8 << 20;
const DEPTH: usize = 4;

fn own() -> Manifest {
    tiny(host().arch, host().variant)
}

/// Pulls it into a layout; what is refused leaves nothing, and has asked for no blob.
fn pull(image: &Image) -> Outcome {
    let (liar, user) = (Liar::serving(image, "app:1"), Lighterman::new());
    let (layout, destination) = user.layout("layout");
    let outcome = user.run(&["pull", &liar.reference("app:1"), "--to", &destination]);
    if outcome.code != Some(exit::OK) {
        assert_eq!(files_below(&layout), [""; 0], "{outcome:#?}");
        assert_eq!(liar.requests_for("/blobs/").len(), 0, "{outcome:#?}");
    }
    outcome
}

/// An index of so many manifests, of which the last one is for this node.
fn entries(count: usize) -> Image {
    let own = own();
    let other = |number: usize| {
        let digest = digest(&number.to_le_bytes());
        let platform = platform("riscv64", &format!("v{number}"));
        json!({ "mediaType": Flavour::Oci.manifest(), "digest": digest, "size": 500, "platform": platform })
    };
    let listed: Vec<Value> = (1..count).map(other).chain([own.entry()]).collect();
    Image::index(Flavour::Oci, &[own], &listed)
}

/// The same index with annotations that make it so many bytes long.
fn padded(index: &Blob, bytes: usize) -> Blob {
    let mut document: Value = serde_json::from_slice(&index.bytes).expect("an index");
    let mut pad = |length: usize| {
        document["annotations"] = json!({ "padding": "x".repeat(length) });
        serde_json::to_vec(&document).expect("a document")
    };
    let without = pad(0).len();
    let padded = Blob::new(&index.media_type, pad(bytes - without));
    assert_eq!(padded.bytes.len(), bytes);
    padded
}

fn sized(bytes: usize) -> Image {
    let image = entries(1);
    Image { root: padded(&image.root, bytes), ..image }
}

/// An image behind so many indexes below the root.
fn nested(levels: usize) -> Image {
    let mut image = entries(1);
    for _ in 0..levels {
        let outer = Image::index(Flavour::Oci, &[], &[image.root.descriptor()]);
        let inner = std::mem::replace(&mut image.root, outer.root);
        image.documents.push(inner);
    }
    image
}

/// An image whose documents have so many bytes together: an index within an index, and a manifest.
fn weighing(bytes: usize) -> Image {
    let own = own();
    let inner = padded(&Image::multi(Flavour::Oci, std::slice::from_ref(&own)).root, DOCUMENT);
    let rest = bytes - DOCUMENT - own.blob.bytes.len();
    let mut image = Image::index(Flavour::Oci, &[own], &[inner.descriptor()]);
    image.root = padded(&image.root, rest);
    image.documents.push(inner);
    image
}

#[test]
fn an_index_of_as_many_manifests_as_there_may_be_is_read_and_one_of_more_is_refused() {
    pull(&entries(ENTRIES)).succeeds();
    let told = format!("it has {} manifests, over the limit of {ENTRIES}", ENTRIES + 1);
    pull(&entries(ENTRIES + 1)).fails(exit::CONTENT).says(&[&told, "blame: the image", "hint: the publisher"]);
}

#[test]
fn a_document_of_as_many_bytes_as_there_may_be_is_read_and_a_longer_one_is_refused() {
    pull(&sized(DOCUMENT)).succeeds();
    pull(&sized(DOCUMENT + 1)).fails(exit::CONTENT).says(&["4 MiB", "blame: ", "hint: "]);
}

#[test]
fn an_image_behind_as_many_indexes_as_there_may_be_is_found_and_one_behind_more_is_refused() {
    pull(&nested(DEPTH)).succeeds();
    let told = format!("behind more than {DEPTH} nested indexes");
    pull(&nested(DEPTH + 1)).fails(exit::PLATFORM).says(&[&told, "blame: the image", "hint: "]);
}

#[test]
fn documents_of_as_many_bytes_as_an_image_may_have_are_read_and_one_byte_more_is_refused() {
    pull(&weighing(DOCUMENTS)).succeeds();
    pull(&weighing(DOCUMENTS + 1)).fails(exit::CONTENT).says(&[
        "(8 MiB), over the limit",
        "blame: the image",
        "hint: ",
    ]);
}
