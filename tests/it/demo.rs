//! The tour for newcomers needs no network, no containerd and no root.

use std::process::Command;

use crate::support::lighterman::Lighterman;
use crate::support::sandbox::is_root;
use crate::support::{files_below, host, succeed, tool};

#[test]
fn the_demo_shows_an_image_resolved_pulled_and_inspected() {
    let user = Lighterman::new();
    let outcome = user.run(&["demo"]).succeeds();
    for part in [host().platform, "linux/amd64", "linux/arm64", "linux/arm/v7", "sha256:", "resolve", "pull", "inspect"]
    {
        assert!(outcome.stdout.contains(part), "the demo does not show {part:?}:\n{}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains('\x1b'), "colours in a pipe");
    assert_eq!(user.left_in_tmp(), [""; 0], "the demo leaves files behind");
}

/// A namespace with a loopback interface and nothing else, as a user without any rights.
#[test]
fn the_demo_needs_neither_network_nor_root() {
    let user = Lighterman::new();
    let home = tempfile::tempdir().expect("a temporary folder");
    // Loopback is down in a new namespace; bringing it up is not what a demo may need root for.
    let script = "ip link set lo up && exec setpriv --no-new-privs --bounding-set -all --inh-caps -all \"$0\" demo";
    let mut command = Command::new(tool("unshare", "util-linux"));
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", tool("sh", "dash").to_str().expect("UTF-8"), "-c", script]);
    tool("ip", "iproute2");
    command.arg(env!("CARGO_BIN_EXE_lighterman")).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home.path()).env("TMPDIR", user.path("tmp"));
    let output = succeed(&mut command);
    assert!(String::from_utf8_lossy(&output.stdout).contains(host().platform));
    assert_eq!(files_below(home.path()), [""; 0], "the demo writes to the user's home");
}
