//! A real containerd that calls us. `tests/run --containerd DIR` runs these with a newer one than
//! the machine's; with an older one they fail.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::containerd::ContainerdDaemon;
use crate::support::cri::CriImages;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Flavour, Image, Layer, Manifest, greeting, noise, platform, tiny};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::{foreign, host, succeed};

/// How often our differ says that it did something.
fn unpacked(daemon: &Daemon<'_>) -> usize {
    daemon.log().matches("unpacked for containerd").count()
}

/// Configuration that has our differ first, and containerd's own behind it.
pub(crate) fn with_differ(socket: &Path) -> String {
    let platform = format!("linux/{}", host().arch);
    format!(
        r#"
[proxy_plugins.lighterman]
  type = "diff"
  address = "{}"
[plugins."io.containerd.service.v1.diff-service"]
  default = ["lighterman", "walking"]
[plugins."io.containerd.transfer.v1.local"]
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "{platform}"
    snapshotter = "overlayfs"
    differ = "lighterman"
"#,
        socket.display()
    )
}

/// A containerd whose differ we are.
fn plugged(cri: bool) -> (ContainerdDaemon, Daemon<'static>) {
    let user = Lighterman::new();
    let lines = with_differ(&user.path("lighterman.sock"));
    let containerd =
        if cri { ContainerdDaemon::start_cri_configured(&lines) } else { ContainerdDaemon::start_configured(&lines) };
    let daemon = Daemon::start_as(user, &containerd, "");
    (containerd, daemon)
}

/// Version numbers of the containerd at hand.
fn version() -> (u32, u32) {
    let told = succeed(Command::new("containerd").arg("--version")).stdout;
    let told = String::from_utf8(told).expect("UTF-8");
    let number = told.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let mut parts = number.expect("a version").split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("a major number"), parts.next().expect("a minor number"))
}

#[track_caller]
fn needs(newer: (u32, u32)) {
    let (major, minor) = newer;
    assert!(version() >= newer, "this needs containerd {major}.{minor} or newer: see tests/run --help");
}

#[test]
#[ignore = "needs containerd 1.7 or newer: see tests/run --help"]
fn an_image_that_ctr_pulls_is_unpacked_by_us_and_runs() {
    needs((1, 7));
    let (containerd, daemon) = plugged(false);
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    containerd.ctr_prints(&["images", "pull", "--plain-http", &reference]);
    assert_eq!(unpacked(&daemon), fixture::busybox().of(host()).layers.len(), "{}{}", daemon.log(), containerd.log());
    assert_eq!(containerd.run("default", &[&reference, "first"]), greeting(host()));
}

#[test]
#[ignore = "needs containerd 1.7 or newer: see tests/run --help"]
fn an_image_that_kubernetes_pulls_is_unpacked_by_us() {
    needs((1, 7));
    let (containerd, daemon) = plugged(true);
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let mut images = CriImages::connect(&containerd.address()).await;
        let id = images.pull(&reference).await;
        assert_eq!(images.status(&reference).await.expect("is there").id, id);
    });
    assert_eq!(unpacked(&daemon), fixture::busybox().of(host()).layers.len(), "{}{}", daemon.log(), containerd.log());
}

#[test]
#[ignore = "needs containerd 1.7 or newer: see tests/run --help"]
fn what_we_do_not_take_goes_on_to_the_next_differ() {
    needs((1, 7));
    let (containerd, daemon) = plugged(false);
    let registry = Registry::plain();
    let tar = {
        let mut tar = tar::Builder::new(Vec::new());
        let content = noise(5, 20 << 20);
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, "large", &content[..]).expect("memory");
        tar.into_inner().expect("memory")
    };
    // A window of 128 MiB, more memory than we give to one layer.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.window_log(27).expect("a setting");
    std::io::copy(&mut &tar[..], &mut encoder).expect("memory");
    let packed = encoder.finish().expect("memory");
    let layer = Layer::packed("application/vnd.oci.image.layer.v1.tar+zstd", packed, &tar);
    let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &[layer], ("/none", &[]));
    let reference = registry.push(&Image::single(manifest), "app:1");
    // The transfer service has no next differ.
    containerd.ctr_prints(&["images", "pull", "--local", "--plain-http", &reference]);
    assert_eq!(unpacked(&daemon), 0, "{}", daemon.log());
    assert!(daemon.log().contains("left to another differ"), "{}", daemon.log());
}

/// A folder with nothing but a link to lighterman, and the lines that name it.
fn with_verifier(user: &Lighterman<'_>) -> (PathBuf, String) {
    let dir = user.path("verifiers");
    std::fs::create_dir(&dir).expect("a writable home");
    symlink(env!("CARGO_BIN_EXE_lighterman"), dir.join("lighterman")).expect("a writable home");
    let lines = format!("[plugins.\"io.containerd.image-verifier.v1.bindir\"]\n  bin_dir = \"{}\"\n", dir.display());
    (dir, lines)
}

#[test]
#[ignore = "needs containerd 2.0 or newer: see tests/run --help"]
fn images_that_cannot_run_here_are_not_pulled() {
    needs((2, 0));
    let user = Lighterman::new();
    let (_, lines) = with_verifier(&user);
    let containerd = ContainerdDaemon::start_configured(&lines);
    let registry = Registry::plain();
    let good = registry.push(fixture::busybox(), "library/busybox:1");
    let bad = registry.push(&Image::single(tiny(foreign().arch, "")), "app:1");
    containerd.ctr_prints(&["images", "pull", "--plain-http", &good]);
    assert_eq!(containerd.run("default", &[&good, "first"]), greeting(host()));
    let refused = containerd.ctr(&["images", "pull", "--plain-http", &bad]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("cannot run the image"), "{said}\n{}", containerd.log());
}
