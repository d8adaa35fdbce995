//! Drafts in files, and the tags that they are for.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use serde_json::Value;

use super::{drafted, image, mislabelled, stored};
use crate::support::fixture::{Flavour, Image};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;
use crate::support::{files_below, tool};

#[test]
fn a_draft_without_a_tag_is_pushed_where_one_is_given_and_nowhere_else() {
    let (registry, user, index, file) = drafted();
    let name = file.to_str().expect("UTF-8");
    let pinned = format!("{}@{}", registry.reference("app"), index.root.digest);
    let draft = std::fs::read_to_string(&file).expect("a draft").replace(&registry.reference("app:1"), &pinned);
    std::fs::write(&file, draft).expect("ours");
    let refused = user.run(&["manifest", "push", name]).fails(exit::USAGE);
    refused.says(&["names no tag", &format!("manifest push FILE {}:latest", registry.reference("app"))]);
    user.run(&["manifest", "push", name, &pinned]).fails(exit::USAGE).says(&["names no tag", ":latest"]);
    assert_eq!(stored(&registry, "app", "1"), index.root.bytes);
    user.run(&["manifest", "push", name, &registry.reference("app:2")]).succeeds();
    user.run(&["manifest", "push", name, &registry.reference("other:1")]).succeeds().says(&["blobs mounted"]);
    assert_eq!(stored(&registry, "other", "1"), stored(&registry, "app", "2"));
    let log = registry.stop();
    assert_eq!(log.count("PUT", "/manifests/ "), 0, "something was put under no name");
}

#[test]
fn a_digest_behind_a_tag_is_what_it_has_to_stand_for() {
    let (registry, user, index, file) = drafted();
    let name = file.to_str().expect("UTF-8");
    let other = Image::multi(Flavour::Oci, &[image(Flavour::Oci, "riscv64", "", 243)]);
    registry.push(&other, "app:2");
    let at = |tag: &str, digest: &str| format!("{}@{digest}", registry.reference(tag));
    let (wrong, right) = (at("app:2", &index.root.digest), at("app:2", &other.root.digest));
    let nothing = at("app:3", &other.root.digest);
    let root = format!("{}@{}", registry.reference("app"), index.root.digest);
    let change = ["--entry", "0", "--variant", "v2", "--push"];
    let cases: [&[&str]; 6] = [
        &["push", name, &wrong],
        &["push", name, &nothing],
        &["push", &root, &wrong],
        &["push", &root, &nothing],
        &["create", &wrong, &root, "--push"],
        &[&["annotate", &wrong], &change[..]].concat(),
    ];
    for args in cases {
        let refused = user.run(&[&["manifest"], args].concat()).fails(exit::DESTINATION);
        refused.says(&["moved meanwhile"]);
    }
    assert_eq!(stored(&registry, "app", "2"), other.root.bytes);
    assert_eq!(registry.remote().get("/v2/app/manifests/3").0, 404);
    // Only the tag counts from there on.
    let pushed = user.run(&["manifest", "push", name, &right]).succeeds();
    let told = format!("pushed {}: {}", registry.reference("app:2"), pushed.stdout.trim());
    pushed.says(&[&told]);
    assert_ne!(stored(&registry, "app", "2"), other.root.bytes);
}

#[test]
fn the_way_back_that_is_told_leaves_a_newer_push_alone() {
    let (registry, user, index, file) = drafted();
    let name = file.to_str().expect("UTF-8");
    let pushed = user.run(&["manifest", "push", name]).succeeds();
    user.run(&["manifest", "push", name]).succeeds().says(&["no difference", "already: nothing was written"]);
    let told = pushed.stderr.lines().find_map(|line| line.strip_prefix("to go back: lighterman "));
    let back: Vec<&str> = told.unwrap_or_else(|| panic!("{pushed:?}")).split(' ').collect();
    let other = Image::multi(Flavour::Oci, &[image(Flavour::Oci, "riscv64", "", 243)]);
    registry.push(&other, "app:1");
    user.run(&back).fails(exit::DESTINATION).says(&[&other.root.digest]);
    assert_eq!(stored(&registry, "app", "1"), other.root.bytes);
    let again = format!("{}@{}", registry.reference("app"), pushed.stdout.trim());
    user.run(&["manifest", "push", &again, &registry.reference("app:1")]).succeeds();
    user.run(&back).succeeds();
    assert_eq!(stored(&registry, "app", "1"), index.root.bytes);
}

#[test]
fn a_tag_that_was_moved_is_told_also_where_what_it_stood_for_is_gone() {
    let (registry, user, index, file) = drafted();
    let other = Image::multi(Flavour::Oci, &[image(Flavour::Oci, "riscv64", "", 243)]);
    registry.push(&other, "app:1");
    registry.lose_blob(&index.root.digest);
    let refused = user.run(&["manifest", "push", file.to_str().expect("UTF-8")]).fails(exit::DESTINATION);
    refused.says(&["moved meanwhile", &other.root.digest]);
}

#[test]
fn a_draft_is_never_written_over_another() {
    let (registry, user, _, file) = drafted();
    let (name, reference) = (file.to_str().expect("UTF-8"), registry.reference("app:1"));
    let draft = std::fs::read(&file).expect("a draft");
    let same = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--out", name];
    user.run(&same).succeeds();
    let other = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "riscv64", "--out", name];
    user.run(&other).fails(exit::DESTINATION).says(&[name, "is there already", "another file"]);
    assert_eq!(std::fs::read(&file).expect("a draft"), draft);
    std::fs::remove_file(&file).expect("ours");
    let variants = ["v5", "v6", "v7", "v8"];
    let running: Vec<_> = variants
        .iter()
        .map(|variant| user.spawn(&[&same[..7], &["--variant", variant, "--out", name]].concat()))
        .collect();
    let outcomes: Vec<_> = running.into_iter().map(|running| running.wait()).collect();
    let winners: Vec<_> = (0..variants.len()).filter(|at| outcomes[*at].code == Some(exit::OK)).collect();
    let [winner] = winners.as_slice() else { panic!("{winners:?} all think that theirs is there: {outcomes:#?}") };
    let draft: Value = serde_json::from_slice(&std::fs::read(&file).expect("a draft")).expect("whole");
    assert_eq!(draft["document"]["manifests"][1]["platform"]["variant"], variants[*winner]);
}

/// The kernel ends the process in the middle of the file, as a crash would.
#[test]
fn a_draft_that_was_being_written_is_not_there() {
    let registry = Registry::plain();
    let reference = registry.push(&mislabelled(Flavour::Oci), "app:1");
    let user = Lighterman::new();
    let file = user.path("drafts/draft.json");
    std::fs::create_dir(user.path("drafts")).expect("a writable home");
    let name = file.to_str().expect("UTF-8");
    let args = ["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--out", name];
    let plain = user.command(&args);
    let mut limited = Command::new(tool("sh", "dash"));
    // One block of 512 bytes a file.
    limited
        .args(["-c", "ulimit -c 0; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().expect("a shell");
    assert_eq!(output.status.signal(), Some(nix::sys::signal::Signal::SIGXFSZ as i32), "{output:?}");
    let left = files_below(&user.path("drafts"));
    assert!(left.iter().all(|left| left.starts_with(".lighterman-draft-")), "{left:?}");
    user.run(&args).succeeds();
    assert!(std::fs::metadata(&file).expect("a draft").len() > 512);
}
