//! The same image in several places: a mirror, a directory, containerd, a daemon that is asked; and
//! its index, corrected where it is.

use serde_json::json;

use super::{Diagnosis, exec, image_of};
use crate::support::fixture::{Flavour, Image, Manifest, Tree, busybox_program, platform};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;
use crate::support::{foreign, host};

/// A static program under a label.
fn labelled(arch: &str, variant: &str, program: &[u8]) -> Manifest {
    let layer = Tree::new().file("app", 0o755, program).layer();
    Manifest::running(Flavour::Oci, &platform(arch, variant), &[layer], &exec("/app"))
}

/// Images for this machine and for another one.
fn two() -> Image {
    let images = [host(), foreign()].map(|machine| labelled(machine.arch, machine.variant, &busybox_program(machine)));
    Image::multi(Flavour::Oci, &images)
}

#[test]
fn a_mirror_that_has_fewer_platforms_than_the_registry_is_named() {
    let image = two();
    let registry = Liar::serving(&image, "app:1");
    let lone = Image::single(labelled(host().arch, host().variant, &busybox_program(host())));
    let (same, stripped) = (Liar::serving(&image, "app:1"), Liar::serving(&lone, "app:1"));
    let user = Lighterman::new();
    let look = |mirror: &Liar| {
        let url = format!("http://{}", mirror.address());
        Diagnosis::of(user.run(&["diagnose", &registry.reference("app:1"), "--json", "--mirror", &url]))
    };
    look(&same).finds(&[]);
    let found = look(&stripped);
    let finding = found.with_id("PLAT-015").next().unwrap_or_else(|| panic!("{:?}", found.problems()));
    let message = finding["message"].as_str().unwrap_or_default();
    assert!(message.contains(&stripped.address().to_string()), "{finding:#}");
    // What it has is read out of its config, and only the other platform is missed.
    let has = format!("for linux/{} alone", host().arch);
    assert!(message.contains(&has), "{message}");
    assert!(message.ends_with(&format!("it lacks linux/{}", foreign().arch)), "{message}");
}

#[test]
fn an_image_in_a_directory_is_diagnosed_without_a_registry() {
    let user = Lighterman::new();
    let (layout, from) = user.layout("layout");
    let wrong = labelled(host().arch, host().variant, &busybox_program(foreign()));
    Image::single(wrong).write_layout(&layout, "docker.io/library/app:1");
    let look = |more: &[&str]| {
        let args = ["diagnose", "app:1", "--from", &from, "--json"];
        Diagnosis::of(user.run(&[&args, more].concat()))
    };
    let found = look(&[]);
    assert_eq!(found.with_id("PLAT-004").count(), 1, "{:?}", found.problems());
    assert_eq!(found.programs()[0]["verified"], false, "the end of the layer was not read");
    assert_eq!(look(&["--deep"]).programs()[0]["verified"], true);
    user.run(&["diagnose", "other:1", "--from", &from]).fails(exit::NOT_FOUND).says(&["docker.io/library/app:1"]);
}

#[test]
fn labels_are_corrected_where_the_index_is() {
    let (registry, user) = (Registry::plain(), Lighterman::new());
    let right = labelled(host().arch, host().variant, &busybox_program(host()));
    let other = labelled(foreign().arch, foreign().variant, &busybox_program(foreign()));
    let mut wrong = other.entry();
    wrong["platform"] = platform("s390x", "");
    let index = Image::index(Flavour::Docker, &[right.clone(), other.clone()], &[right.entry(), wrong]);
    let name = registry.push(&index, "app:1");
    let stands_for = || {
        let (status, bytes) = registry.remote().get("/v2/app/manifests/1");
        assert_eq!(status, 200);
        serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON")
    };

    let before = stands_for();
    let shown = user.run(&["diagnose", &name, "--fix"]).succeeds();
    assert!(shown.stdout.contains("s390x") && shown.stdout.contains("nothing was written"), "{shown:?}");
    assert_eq!(stands_for(), before);
    user.run(&["diagnose", &name, "--push"]).fails(exit::USAGE).says(&["--fix"]);

    user.run(&["diagnose", &name, "--fix", "--push"]).succeeds().says(&["to go back: lighterman manifest push"]);
    let after = stands_for();
    assert_eq!(after["mediaType"], before["mediaType"]);
    assert_eq!(after["manifests"][0], before["manifests"][0]);
    assert_eq!(after["manifests"][1]["digest"], json!(other.blob.digest));
    assert_eq!(after["manifests"][1]["platform"]["architecture"], json!(foreign().arch));

    let again = user.run(&["diagnose", &name, "--fix", "--push"]).succeeds();
    assert!(again.stderr.contains("nothing to correct"), "{again:?}");
    assert_eq!(stands_for(), after);
}

#[test]
fn every_binary_is_looked_at_where_that_is_asked_for() {
    let (registry, user) = (Registry::plain(), Lighterman::new());
    let base = Tree::new().file("app", 0o755, &busybox_program(host())).layer();
    let helper = Tree::new()
        .file("usr/local/bin/helper", 0o755, &busybox_program(foreign()))
        .file("srv/node_modules/x/prebuilds/other/x.node", 0o644, &busybox_program(foreign()))
        .layer();
    let name = registry.push(&image_of(host().arch, host().variant, &[base, helper], &exec("/app")), "app:1");
    Diagnosis::of(user.run(&["diagnose", &name, "--json"])).finds(&[]);
    let found = Diagnosis::of(user.run(&["diagnose", &name, "--json", "--deep"])).finds(&["ELF-007 warning"]);
    let said: Vec<(String, String)> = found
        .with_id("ELF-007")
        .map(|finding| (finding["severity"].to_string(), finding["message"].to_string()))
        .collect();
    let [(_, warned), (note, noted)] = said.as_slice() else { panic!("{said:#?}") };
    assert!(warned.contains("/usr/local/bin/helper") && !warned.contains("x.node"), "{warned}");
    assert!(note.contains("note") && noted.contains("x.node"), "{noted}");
}

#[cfg(feature = "containerd")]
mod in_containerd {
    use super::*;
    use crate::support::containerd::ContainerdDaemon;
    use crate::support::daemon::Daemon;

    #[test]
    fn what_containerd_has_for_another_machine_is_told_and_what_it_has_is_not_fetched() {
        let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
        let name = registry.push(&two(), "app:1");
        let (address, user) = (containerd.address(), Lighterman::new());
        let staging = user.path("staging");
        let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("a UTF-8 path"));
        let pull = |more: &[&str]| {
            let args = ["pull", &name, "--containerd-address", address, "--staging-dir", staging, "--to", "containerd"];
            user.run(&[&args, more].concat()).succeeds();
        };
        let look = |more: &[&str]| {
            let args = ["diagnose", &name, "--json", "--containerd-address", address];
            Diagnosis::of(user.run(&[&args, more].concat()))
        };
        let other = format!("linux/{}", foreign().arch);
        pull(&["--platform", &other, "--no-unpack"]);
        let found = look(&[]);
        assert_eq!(found.with_id("PLAT-014").count(), 1, "{:?}", found.problems());

        pull(&[]);
        let found = look(&[]).finds(&[]);
        assert_eq!(found.document["bytes"]["layersFetched"], 0, "{:#}", found.document);
        look(&["--from", "containerd"]).finds(&[]);
    }

    #[test]
    fn a_daemon_says_the_same_as_somebody_who_looks_for_himself() {
        let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
        let daemon = Daemon::start(&containerd);
        let (asking, alone) = (daemon.user(), Lighterman::new());
        let wrong = labelled(host().arch, host().variant, &busybox_program(foreign()));
        let name = registry.push(&Image::single(wrong), "app:1");
        for more in
            [vec!["--host", "raspberry-pi-zero"], vec!["--all-platforms"], vec!["--budget", "0"], vec!["--deep"]]
        {
            let args = [vec!["diagnose", &name, "--json"], more].concat();
            let [asked, own] = [&asking, &alone].map(|user| user.run(&args).json());
            assert_eq!(asked, own, "{args:?}");
        }
        asking.run(&["diagnose", &registry.reference("missing:1")]).fails(exit::NOT_FOUND);
        asking.run(&["diagnose", &name, "--host", "raspbery-pi-4"]).fails(exit::USAGE).says(&["raspberry-pi-4"]);
    }
}
