//! What is pushed, and who can read it.

use std::process::Command;

use serde_json::{Value, json};

use super::{image, mislabelled, stored, stored_json};
use crate::support::fixture::{Flavour, Image, digest};
use crate::support::lighterman::Lighterman;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Policy, TokenServer, docker_auth};
use crate::support::{succeed, tool};

fn entries(document: &Value) -> Vec<(String, Value)> {
    let list = document["manifests"].as_array().unwrap_or_else(|| panic!("no index: {document:#}"));
    list.iter()
        .map(|entry| (entry["digest"].as_str().expect("a digest").to_owned(), entry["platform"].clone()))
        .collect()
}

/// What skopeo makes of a reference.
fn skopeo_raw(reference: &str) -> Vec<u8> {
    let mut command = Command::new(tool("skopeo", "skopeo"));
    succeed(command.args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{reference}"))).stdout
}

#[test]
fn a_mislabelled_list_is_corrected_with_its_type_and_all_else_kept() {
    for flavour in [Flavour::Docker, Flavour::Oci] {
        let registry = Registry::plain();
        let mut index = mislabelled(flavour);
        let mut document: Value = serde_json::from_slice(&index.root.bytes).expect("JSON");
        document["manifests"][1]["x-odd"] = json!({ "b": [1], "a": null });
        document["annotations"] = json!({ "org.example": "kept" });
        index.root = crate::support::fixture::Blob::json(flavour.index(), &document);
        let reference = registry.push(&index, "app:1");
        let user = Lighterman::new();
        let arm = &index.manifests[1].blob.digest;
        let change = ["manifest", "annotate", &reference, "--entry", arm, "--arch", "arm", "--variant", "v6", "--push"];
        let pushed = user.run(&change).succeeds();
        document["manifests"][1]["platform"] = json!({ "os": "linux", "architecture": "arm", "variant": "v6" });
        let now = stored(&registry, "app", "1");
        assert_eq!(serde_json::from_slice::<Value>(&now).expect("JSON"), document);
        assert_eq!(pushed.stdout.trim(), digest(&now));
        pushed.says(&[&index.root.digest, "to go back: lighterman manifest push"]);
        let raw = skopeo_raw(&reference);
        assert_eq!(raw, now, "skopeo reads another document");
        let seen = user.run(&["manifest", "inspect", &reference, "--json"]).succeeds().json();
        assert_eq!(seen["root"]["mediaType"], flavour.index());
        // The right nodes get it, and nobody else.
        let resolved = user.run(&["resolve", &reference, "--platform", "linux/arm/v6"]).succeeds();
        assert!(resolved.stdout.starts_with(arm), "{resolved:?}");
        // Once more changes nothing.
        let again = ["manifest", "annotate", &reference, "--entry", arm, "--variant", "v6", "--push"];
        user.run(&again).succeeds().says(&["nothing was written"]);
        // And the way back that was told is one.
        let back = ["manifest", "push", &format!("{}@{}", registry.reference("app"), index.root.digest), &reference];
        user.run(&back).succeeds();
        assert_eq!(stored(&registry, "app", "1"), index.root.bytes);
    }
}

#[test]
fn one_image_is_listed_for_several_platforms_where_that_is_asked_for() {
    let registry = Registry::plain();
    let index = mislabelled(Flavour::Oci);
    let reference = registry.push(&index, "app:1");
    let user = Lighterman::new();
    let change = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--variant", "v7"];
    let also = ["--also", "linux/arm/v6", "--also", "linux/arm64", "--push"];
    user.run(&[&change[..], &also].concat()).succeeds().says(&["listed for linux/arm64 too"]);
    let [amd64, arm] = [0, 1].map(|at| index.manifests[at].blob.digest.clone());
    let of = |arch: &str, variant: &str| crate::support::fixture::platform(arch, variant);
    assert_eq!(
        entries(&stored_json(&registry, "app", "1")),
        [
            (amd64, of("amd64", "")),
            (arm.clone(), of("arm", "v7")),
            (arm.clone(), of("arm", "v6")),
            (arm, of("arm64", ""))
        ]
    );
}

#[test]
fn an_index_is_made_of_images_by_their_configs_and_its_images_are_mounted() {
    let registry = Registry::plain();
    let [amd64, arm] = [image(Flavour::Docker, "amd64", "", 62), image(Flavour::Docker, "arm64", "", 40)];
    let parts = [("parts:amd64", &amd64), ("parts:arm", &arm)];
    let [first, second] = parts.map(|(name, image)| registry.push(&Image::single(image.clone()), name));
    let reference = registry.reference("app:1");
    let labelled = format!("{second}=linux/arm/v6");
    let create = ["manifest", "create", &reference, &first, &labelled];
    let user = Lighterman::new();
    let shown = user.run(&create).succeeds().stdout;
    assert!(shown.contains("nothing: the tag is new") && shown.contains("to be brought"), "{shown}");
    assert_eq!(registry.remote().get("/v2/app/manifests/1").0, 404, "nothing was asked to be written");
    user.run(&[&create[..], &["--push"]].concat()).succeeds().says(&["2 blobs mounted"]);
    let document = stored_json(&registry, "app", "1");
    assert_eq!(document["mediaType"], Flavour::Docker.index(), "what the images are");
    let of = |arch: &str, variant: &str| crate::support::fixture::platform(arch, variant);
    let expected = [(amd64.blob.digest.clone(), of("amd64", "")), (arm.blob.digest.clone(), of("arm", "v6"))];
    assert_eq!(entries(&document), expected);
    // All of it is in the new repository.
    let (copy, destination) = user.layout("copy");
    user.run(&["pull", &reference, "--all-platforms", "--to", &destination]).succeeds();
    assert!(copy.join("blobs/sha256").join(arm.layers[0].hex()).exists());
    assert_eq!(skopeo_raw(&reference), stored(&registry, "app", "1"));
    let log = registry.stop();
    assert_eq!(log.count("POST", "mount="), 4, "every blob once");
    assert_eq!(log.count("PUT", "/v2/app/blobs/uploads/"), 0, "a byte went by way of us");
}

#[test]
fn images_of_another_registry_are_copied_and_nothing_is_left_behind() {
    let (here, there) = (Registry::plain(), Registry::plain());
    let image = image(Flavour::Oci, "arm64", "v8", 183);
    let from = there.push(&Image::single(image.clone()), "parts:1");
    let reference = here.reference("app:1");
    let user = Lighterman::new();
    user.run(&["manifest", "create", &reference, &from, "--push"]).succeeds().says(&["2 copied"]);
    assert_eq!(user.left_in_tmp(), [""; 0]);
    let document = stored_json(&here, "app", "1");
    assert_eq!(document["mediaType"], Flavour::Oci.index());
    assert_eq!(entries(&document), [(image.blob.digest.clone(), crate::support::fixture::platform("arm64", "v8"))]);
    drop(there);
    let (copy, destination) = user.layout("copy");
    user.run(&["pull", &reference, "--all-platforms", "--to", &destination]).succeeds();
    assert!(copy.join("blobs/sha256").join(image.layers[0].hex()).exists());
}

#[test]
fn an_index_among_the_children_brings_its_entries_as_they_are() {
    let registry = Registry::plain();
    let known = registry.push(&Image::multi(Flavour::Oci, &[image(Flavour::Oci, "amd64", "", 62)]), "app:1");
    let more = registry.push(&Image::single(image(Flavour::Oci, "s390x", "", 22)), "app:s390x");
    let user = Lighterman::new();
    user.run(&["manifest", "create", &known, &known, &more, "--docker", "--push"]).succeeds();
    let document = stored_json(&registry, "app", "1");
    assert_eq!(document["mediaType"], Flavour::Docker.index());
    let platforms: Vec<Value> = entries(&document).into_iter().map(|(_, platform)| platform).collect();
    assert_eq!(
        platforms,
        [json!({ "os": "linux", "architecture": "amd64" }), json!({ "os": "linux", "architecture": "s390x" })]
    );
}

#[test]
fn a_draft_is_kept_edited_and_pushed_later_also_elsewhere() {
    let registry = Registry::plain();
    let index = mislabelled(Flavour::Docker);
    let reference = registry.push(&index, "app:1");
    let user = Lighterman::new();
    let file = user.path("draft.json");
    let name = file.to_str().expect("UTF-8");
    let change =
        ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--variant", "v6", "--out", name];
    user.run(&change).succeeds();
    assert_eq!(stored(&registry, "app", "1"), index.root.bytes, "the tag was moved");
    let edited = std::fs::read_to_string(&file).expect("a draft").replace("\"v6\"", "\"v7\"");
    std::fs::write(&file, edited).expect("ours");
    let elsewhere = registry.reference("other:2");
    user.run(&["manifest", "push", name, &elsewhere]).succeeds().says(&["blobs mounted"]);
    user.run(&["manifest", "push", name]).succeeds();
    let arm = (index.manifests[1].blob.digest.clone(), crate::support::fixture::platform("arm", "v7"));
    for (repository, tag) in [("other", "2"), ("app", "1")] {
        assert!(entries(&stored_json(&registry, repository, tag)).contains(&arm), "{repository}:{tag}");
    }
}

#[test]
fn a_push_asks_for_a_token_that_may_push_and_only_then() {
    let tokens = TokenServer::start(Policy::Writers);
    let registry = Registry::token(&tokens);
    let index = mislabelled(Flavour::Oci);
    let reference = registry.push(&index, "app:1");
    let part = registry.push(&Image::single(image(Flavour::Oci, "s390x", "", 22)), "parts:1");
    let user = Lighterman::new().with_docker_config(&docker_auth(registry.address(), USER, PASSWORD));
    user.run(&["manifest", "inspect", &reference]).succeeds();
    let pushes = |scopes: &[String]| scopes.iter().any(|scope| scope.ends_with("push"));
    assert!(tokens.asked().iter().all(|asked| !pushes(&asked.scopes)), "{:?}", tokens.asked());
    user.run(&["manifest", "create", &reference, &reference, &part, "--push"]).succeeds().says(&["2 blobs mounted"]);
    let asked = tokens.asked();
    let mount =
        asked.iter().find(|asked| pushes(&asked.scopes) && asked.scopes.contains(&"repository:parts:pull".into()));
    assert!(mount.is_some_and(|asked| asked.scopes.contains(&"repository:app:pull,push".into())), "{asked:?}");
    assert_eq!(entries(&stored_json(&registry, "app", "1")).len(), 3);
}
