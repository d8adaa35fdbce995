//! Indexes without an end or without a bottom.

use serde_json::json;

use super::survive;
use crate::diagnose::exec;
use crate::support::debian::AMD64;
use crate::support::fixture::{Blob, Flavour, Image, Manifest, Tree, platform};
use crate::support::liar::{Liar, Reply, When};
use crate::support::lighterman::{Lighterman, exit};

fn manifest() -> Manifest {
    let layer = Tree::new().file("app", 0o755, &AMD64.busybox()).layer();
    Manifest::running(Flavour::Oci, &platform("amd64", ""), &[layer], &exec("/app"))
}

/// Indexes within indexes, each of which names the next so many times.
fn nested(depth: usize, times: usize) -> Image {
    let mut image = Image::multi(Flavour::Oci, &[manifest()]);
    for _ in 0..depth {
        let entries = vec![image.root.descriptor(); times];
        let outer = json!({ "schemaVersion": 2, "mediaType": Flavour::Oci.index(), "manifests": entries });
        image.documents.push(image.root);
        image.root = Blob::json(Flavour::Oci.index(), &outer);
    }
    image
}

#[test]
fn indexes_deeper_than_anybody_nests_them_are_refused_or_told() {
    for (what, depth, times) in [("two", 2, 1), ("a hundred", 100, 1), ("laughs", 40, 10), ("wide laughs", 3, 500)] {
        let end = survive(what, &nested(depth, times));
        if depth > 2 {
            let told = end.document["findings"].to_string().contains("PLAT-010");
            assert!(told || end.code == Some(exit::CONTENT), "{what}: {:#}", end.document);
        }
    }
}

#[test]
fn an_index_of_very_many_entries_is_survived() {
    let manifest = manifest();
    let entries: Vec<_> = (0..10_000)
        .map(|number| {
            let mut entry = manifest.entry();
            entry["platform"] = platform("arm", &format!("v{number}"));
            entry
        })
        .collect();
    survive("entries", &Image::index(Flavour::Oci, &[manifest], &entries));
}

#[test]
fn an_index_that_names_itself_holds_nothing() {
    // Only a liar can serve one, for nobody can compute its digest.
    let digest = format!("sha256:{}", "ab".repeat(32));
    let entry = json!({ "mediaType": Flavour::Oci.index(), "digest": digest, "size": 500 });
    let index = json!({ "schemaVersion": 2, "mediaType": Flavour::Oci.index(), "manifests": [entry] });
    let root = Blob::json(Flavour::Oci.index(), &index);
    let image = Image { root: root.clone(), documents: Vec::new(), manifests: Vec::new() };
    let liar = Liar::serving(&image, "app:1");
    let headers = vec![("content-type", Flavour::Oci.index().to_owned())];
    // Lives as long as the tests do, which is what the replies of a liar need.
    let body: &'static str = String::from_utf8(root.bytes.to_vec()).expect("JSON").leak();
    liar.always(When::asked(&format!("GET /v2/app/manifests/{digest}")), Reply::Status(200, headers, body));
    let reference = liar.reference("app:1");
    let outcome = Lighterman::new().run(&["diagnose", &reference, "--json"]).ends(exit::PLATFORM);
    let json = outcome.json();
    let told: Vec<&str> =
        json["findings"].as_array().into_iter().flatten().filter_map(|it| it["id"].as_str()).collect();
    assert!(told.contains(&"PLAT-010"), "{outcome:#?}");
    assert_eq!(liar.requests_for(&digest).len(), 1, "it was followed further");
}
