//! Leases of pulls that the machine stopped in, whose marks in staging are lost.

use std::collections::BTreeSet;

use super::{arguments, words};
use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{Image, tiny};
use crate::support::host;
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::Lighterman;

#[test]
fn leases_of_earlier_boots_end_with_the_next_pull_and_no_others() {
    let daemon = ContainerdDaemon::start();
    let this = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let (this, earlier) = (format!("io.lighterman.boot={}", this.trim()), "io.lighterman.boot=earlier");
    let leases =
        || -> BTreeSet<String> { daemon.ctr_prints(&["leases", "ls", "-q"]).lines().map(str::to_owned).collect() };
    for (id, label) in [
        ("lighterman-lost", earlier),
        ("lighterman-lives", &this),
        // Of a version that did not say.
        ("lighterman-unknown", "by=hand"),
        ("kubelet", earlier),
    ] {
        daemon.ctr_prints(&["leases", "create", "--id", id, label]);
    }
    let stay: BTreeSet<String> = ["kubelet", "lighterman-lives", "lighterman-unknown"].map(str::to_owned).into();

    let image = tiny(host().arch, host().variant);
    let layer = format!("GET /v2/app/blobs/{}", image.layers[0].digest);
    let liar = Liar::serving(&Image::single(image), "app:1");
    liar.plan(&layer, [Reply::HangAfter(1)]);
    let user = Lighterman::new();
    let arguments = arguments(&liar.reference("app:1"), &daemon, &["--no-unpack"]);
    let running = user.spawn(&words(&arguments));
    liar.wait_for(&layer);
    let own: Vec<String> = leases().difference(&stay).cloned().collect();
    let [own] = &own[..] else { panic!("not one lease of ours: {own:?}") };
    let listed = daemon.ctr_prints(&["leases", "ls"]);
    let row = listed.lines().find(|row| row.contains(own.as_str())).expect("it was listed");
    assert!(row.contains(&this), "the next boot will not know it: {row}");
    drop(running);
    user.run(&words(&arguments)).succeeds();
    assert_eq!(leases(), stay);
}
