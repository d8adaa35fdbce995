//! Images of other repositories and what is behind them, however their makers put it together.

use serde_json::{Value, json};

use super::{image, stored};
use crate::support::fixture::{Blob, Flavour, Image, Manifest, platform};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;

/// An index of these entries.
fn index(entries: &[Value]) -> Blob {
    let document = json!({ "schemaVersion": 2, "mediaType": Flavour::Oci.index(), "manifests": entries });
    Blob::json(Flavour::Oci.index(), &document)
}

/// Pushes nested documents, children before parents and the root last, to `parts:1`.
fn push(registry: &Registry, manifests: &[Manifest], mut nested: Vec<Blob>) -> String {
    let root = nested.pop().expect("a root");
    let documents = manifests.iter().map(|manifest| manifest.blob.clone()).chain(nested).collect();
    registry.push(&Image { root: root.clone(), documents, manifests: manifests.to_vec() }, "parts:1");
    format!("{}@{}", registry.reference("parts"), root.digest)
}

#[test]
fn what_several_indexes_name_is_brought_once() {
    let registry = Registry::plain();
    let manifests = [image(Flavour::Oci, "amd64", "", 62), image(Flavour::Oci, "arm", "v7", 40)];
    let entries: Vec<Value> = manifests.iter().map(Manifest::entry).collect();
    let inner = index(&entries);
    let [one, other] = ["one", "other"].map(|name| {
        let mut again = inner.descriptor();
        again["annotations"] = json!({ "org.example.name": name });
        index(&[vec![again, inner.descriptor()], entries.clone()].concat())
    });
    let root = index(&[one.descriptor(), other.descriptor(), inner.descriptor()]);
    let from = push(&registry, &manifests, vec![inner.clone(), one, other, root.clone()]);
    let (user, reference) = (Lighterman::new(), registry.reference("app:1"));
    user.run(&["manifest", "push", &from, &reference]).succeeds().says(&["blobs mounted", "the tag is new"]);
    assert_eq!(stored(&registry, "app", "1"), root.bytes);
    let log = registry.stop();
    for digest in manifests.iter().map(|manifest| &manifest.blob.digest).chain([&inner.digest]) {
        assert_eq!(log.count("PUT", &format!("/v2/app/manifests/{digest}")), 1, "{digest}");
    }
}

#[test]
fn what_is_nested_too_deeply_or_too_large_is_refused_before_anything_is_written() {
    let manifest = image(Flavour::Oci, "amd64", "", 62);
    let mut deep = vec![index(&[manifest.entry()])];
    while deep.len() < 7 {
        deep.push(index(&[deep.last().expect("one").descriptor()]));
    }
    let padded = |number: usize| {
        let mut entry = manifest.entry();
        entry["annotations"] = json!({ "org.example.padding": format!("{number}").repeat(3 << 20) });
        index(&[entry])
    };
    let mut large: Vec<Blob> = (0..3).map(padded).collect();
    large.push(index(&large.iter().map(Blob::descriptor).collect::<Vec<_>>()));
    for (nested, says) in [(deep, "more than 4 levels of indexes"), (large, "bytes of manifests and indexes")] {
        let registry = Registry::plain();
        let from = push(&registry, std::slice::from_ref(&manifest), nested);
        let refused = Lighterman::new().run(&["manifest", "push", &from, &registry.reference("app:1")]);
        refused.fails(exit::CONTENT).says(&["is not copied", says, "manifest create"]);
        let log = registry.stop();
        assert_eq!(log.count("PUT", "/v2/app/") + log.count("POST", "/v2/app/"), 0, "{says}");
    }
}

#[test]
fn an_image_that_its_index_names_and_nobody_has_is_named() {
    let registry = Registry::plain();
    let [here, gone] = [image(Flavour::Oci, "amd64", "", 62), image(Flavour::Oci, "arm64", "", 183)];
    let inner = index(&[here.entry(), gone.entry()]);
    let mut entry = inner.descriptor();
    entry["platform"] = platform("amd64", "");
    let root = index(&[entry]);
    let from = push(&registry, &[here, gone.clone()], vec![inner, root]);
    registry.lose_blob(&gone.blob.digest);
    let refused = Lighterman::new().run(&["manifest", "push", &from, &registry.reference("app:1")]);
    refused.fails(exit::NOT_FOUND).says(&[&gone.blob.digest]);
    assert_eq!(registry.stop().count("PUT", "/v2/app/"), 0);
}
