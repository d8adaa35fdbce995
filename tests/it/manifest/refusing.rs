//! What is not pushed, and what is said instead.

use serde_json::Value;

use super::{drafted, image, mislabelled, stored};
use crate::support::fixture::{Flavour, Image};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;
use crate::support::token::{Policy, TokenServer};

#[test]
fn a_tag_that_was_moved_meanwhile_stays_as_it_is() {
    let (registry, user, index, file) = drafted();
    let name = file.to_str().expect("UTF-8");
    let other = Image::multi(Flavour::Oci, &[image(Flavour::Oci, "riscv64", "", 243)]);
    registry.push(&other, "app:1");
    let refused = user.run(&["manifest", "push", name]).fails(exit::DESTINATION);
    refused.says(&["moved meanwhile", &index.root.digest, &other.root.digest, "manifest inspect"]);
    assert_eq!(stored(&registry, "app", "1"), other.root.bytes);
    let error = user.run(&["manifest", "push", name, "--json"]).ends(exit::DESTINATION).error();
    assert_eq!(error["blame"], "the request");
}

#[test]
fn a_child_that_is_nowhere_is_found_before_anything_is_written() {
    let (registry, user, index, file) = drafted();
    let name = file.to_str().expect("UTF-8");
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let arm = &index.manifests[1].blob.digest;
    let draft = std::fs::read_to_string(&file).expect("a draft").replace(&**arm, &nowhere);
    std::fs::write(&file, draft).expect("ours");
    user.run(&["manifest", "push", name]).fails(exit::NOT_FOUND).says(&[&nowhere]);
    // Nor for another repository, whose images come from the first one.
    user.run(&["manifest", "push", name, &registry.reference("other:1")]).fails(exit::NOT_FOUND).says(&[&nowhere]);
    let log = registry.stop();
    assert_eq!(log.count("PUT", "/manifests/"), 3, "only what the test pushed");
    assert_eq!(log.count("POST", "/v2/other/"), 0);
}

#[test]
fn wrong_variants_are_refused_with_the_right_one() {
    let registry = Registry::plain();
    let reference = registry.push(&mislabelled(Flavour::Oci), "app:1");
    let part = registry.push(&Image::single(image(Flavour::Oci, "arm", "v6", 40)), "app:arm");
    let user = Lighterman::new();
    let cases: [(&[&str], &str); 4] = [
        (&["--arch", "arm", "--variant", "v6l"], "linux/arm/v6"),
        (&["--variant", "8"], "linux/arm64/v8"),
        (&["--arch", "aarch64"], "linux/arm64"),
        (&["--arch", "arm", "--variant", "v7", "--also", "linux/arm/v6l"], "linux/arm/v6"),
    ];
    for (flags, right) in cases {
        let args = [&["manifest", "annotate", &reference, "--entry", "1", "--push"], flags].concat();
        user.run(&args).fails(exit::USAGE).says(&[&format!("the right name is {right}")]);
    }
    let labelled = format!("{part}=linux/arm/v6l");
    let create = ["manifest", "create", &registry.reference("app:2"), &labelled, "--push"];
    user.run(&create).fails(exit::USAGE).says(&["the right name is linux/arm/v6"]);
    let file = user.path("draft.json");
    let name = file.to_str().expect("UTF-8");
    user.run(&["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--out", name]).succeeds();
    let draft = std::fs::read_to_string(&file).expect("a draft").replace("\"arm\"", "\"arm\", \"variant\": \"v6l\"");
    std::fs::write(&file, draft).expect("ours");
    user.run(&["manifest", "push", name]).fails(exit::USAGE).says(&["the right name is linux/arm/v6"]);
    assert_eq!(stored(&registry, "app", "1"), mislabelled(Flavour::Oci).root.bytes);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let registry = Registry::plain();
    let reference = registry.push(&mislabelled(Flavour::Oci), "app:1");
    let single = registry.push(&Image::single(image(Flavour::Oci, "arm", "v6", 40)), "app:single");
    let mute = registry.push(&Image::single(image(Flavour::Oci, "", "", 200)), "app:mute");
    let pinned = format!("{}@{}", registry.reference("app"), mislabelled(Flavour::Oci).root.digest);
    let (new, listed) = (registry.reference("app:2"), format!("{reference}=linux/arm64"));
    let user = Lighterman::new();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["annotate", &reference, "--entry", "9", "--arch", "arm"], &["is no entry", "manifest inspect"]),
        (&["annotate", &reference, "--entry", "linux/s390x", "--arch", "arm"], &["is no entry"]),
        (&["annotate", &reference, "--entry", "1", "--clear-arch"], &["--os and --arch"]),
        (&["annotate", &single, "--entry", "0", "--arch", "arm"], &["single image", "manifest create"]),
        (&["annotate", &pinned, "--entry", "0", "--arch", "arm"], &["names no tag"]),
        (&["create", &pinned, &single], &["names no tag"]),
        (&["create", &new, &mute], &["=linux/arm64"]),
        (&["create", &new, &listed], &["is an index"]),
        (&["push", &pinned], &["names no tag"]),
    ];
    for (args, says) in cases {
        user.run(&[&["manifest"], args].concat()).fails(exit::USAGE).says(says);
    }
    user.run(&["manifest", "annotate", &reference, "--entry", "1"]).ends(exit::USAGE);
    user.run(&["manifest", "push", "no-such-file.json"]).fails(exit::LOCAL_IO);
    user.run(&["manifest", "annotate", &registry.reference("app:none"), "--entry", "0", "--arch", "arm"])
        .fails(exit::NOT_FOUND);
}

#[test]
fn an_image_that_contradicts_itself_is_not_listed_before_somebody_says_what_holds() {
    let registry = Registry::plain();
    let wrong = registry.push(&Image::single(image(Flavour::Oci, "amd64", "", 40)), "app:arm");
    let reference = registry.reference("app:1");
    let user = Lighterman::new();
    let refused = user.run(&["manifest", "create", &reference, &wrong, "--push"]).fails(exit::PLATFORM);
    refused.says(&["its config says linux/amd64", "/app is ELF 32-bit ARM", &format!("{wrong}=linux/arm ")]);
    let by_config = format!("{wrong}=linux/amd64");
    let shown = user.run(&["manifest", "create", &reference, &by_config]).succeeds().stdout;
    assert!(shown.contains("as you say, and /app is ELF 32-bit ARM"), "{shown}");
    let by_program = format!("{wrong}=linux/arm/v6");
    let shown = user.run(&["manifest", "create", &reference, &by_program]).succeeds().stdout;
    assert!(!shown.contains("as you say"), "{shown}");
}

#[test]
fn a_registry_that_is_read_only_says_so_once() {
    let registry = Registry::plain();
    registry.push(&mislabelled(Flavour::Oci), "app:1");
    let registry = registry.read_only();
    let reference = registry.reference("app:1");
    let user = Lighterman::new();
    let change = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--push"];
    user.run(&change).fails(exit::CREDENTIALS).says(&["cannot push", "405", "read-only"]);
    let log = registry.stop();
    assert_eq!(log.count("PUT", "/manifests/"), 1, "a refusal for good was tried again");
}

#[test]
fn without_the_right_to_push_one_is_told_who_may() {
    let tokens = TokenServer::start(Policy::Writers);
    let registry = Registry::token(&tokens);
    let reference = registry.push(&mislabelled(Flavour::Oci), "app:1");
    let change = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--push"];
    let refused = Lighterman::new().run(&change).fails(exit::CREDENTIALS);
    refused.says(&["cannot push", "log in as somebody who may push"]);
    let error = Lighterman::new().run(&[&change[..], &["--json"]].concat()).ends(exit::CREDENTIALS).error();
    assert_eq!(error["kind"], Value::from("unauthenticated"));
}

#[test]
fn a_login_for_one_registry_is_not_shown_to_another() {
    let (here, there) = (Registry::plain(), Registry::basic());
    let from = there.push(&Image::single(image(Flavour::Oci, "arm64", "", 183)), "parts:1");
    let (user, password) = (crate::support::registry::USER, crate::support::registry::PASSWORD);
    let args = ["manifest", "create", &here.reference("app:1"), &from, "--user", user, "--password-stdin"];
    // They would open the other registry, and are not for it.
    let refused = Lighterman::new().run_with_stdin(&args, &format!("{password}\n")).fails(exit::CREDENTIALS);
    refused.says(&[there.address()]);
    let config = crate::support::token::docker_auth(there.address(), user, password);
    Lighterman::new().with_docker_config(&config).run(&args[..4]).succeeds();
}

#[test]
fn a_mirror_is_never_pushed_to() {
    let (registry, mirror) = (Registry::plain(), Registry::plain());
    let index = mislabelled(Flavour::Oci);
    let reference = registry.push(&index, "app:1");
    mirror.push(&index, "app:1");
    let user = Lighterman::new();
    let dir = user.path("certs.d").join(registry.address());
    std::fs::create_dir_all(&dir).expect("a writable home");
    let hosts = format!("[host.\"http://{}\"]\n", mirror.address());
    std::fs::write(dir.join("hosts.toml"), hosts).expect("a writable home");
    let dirs = user.path("certs.d");
    let change = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--push", "--hosts-dir"];
    user.run(&[&change[..], &[dirs.to_str().expect("UTF-8")]].concat()).succeeds();
    assert_ne!(stored(&registry, "app", "1"), index.root.bytes);
    let log = mirror.stop();
    assert_eq!(log.count("PUT", "/manifests/"), 3, "only what the test pushed");
    assert_eq!(log.count("GET", "/manifests/") + log.count("HEAD", "/manifests/"), 0, "a mirror may be behind");
}
