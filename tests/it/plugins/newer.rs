//! A real containerd that calls us: every one that is at hand and new enough for it, configured by
//! what `lighterman setup` makes of its configuration.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::powerloss;
use crate::support::containerd::{ContainerdDaemon, Cri, Programs, newer};
use crate::support::cri::CriImages;
use crate::support::daemon::Daemon;
use crate::support::disk::Journal;
use crate::support::fixture::{self, Flavour, Image, Layer, Manifest, elsewhere, greeting, noise, platform};
use crate::support::host;
use crate::support::liar::Liar;
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;

/// The first that lets others be its differ.
const DIFFERS: (u32, u32) = (1, 7);
/// The first in which CRI pulls by the transfer service.
const TRANSFERS: (u32, u32) = (2, 1);
/// The first with image verifiers.
const VERIFIERS: (u32, u32) = (2, 0);

/// How often our differ says that it did something.
fn unpacked(daemon: &Daemon<'_>) -> usize {
    daemon.log().matches("unpacked for containerd").count()
}

/// What `lighterman setup --differ` makes of a configuration of this containerd.
fn set_up(user: &Lighterman<'_>, programs: &Programs, configuration: &str) -> String {
    let root = tempfile::tempdir().expect("a folder");
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        std::fs::write(path, text).expect("writes");
    };
    let (major, minor) = programs.version;
    put(
        "var/lib/dpkg/status",
        &format!("Package: containerd\nStatus: install ok installed\nVersion: {major}.{minor}.0\n"),
    );
    put("etc/containerd/config.toml", configuration);
    put("own.toml", &format!("[serve]\nlisten = {:?}\n", user.path("lighterman.sock")));
    let path = |path: &str| root.path().join(path).to_str().expect("UTF-8").to_owned();
    user.run(&["--config", &path("own.toml"), "setup", "--differ", "--root", &path("")]).succeeds();
    std::fs::read_to_string(path("etc/containerd/config.toml")).expect("reads")
}

/// A containerd whose differ we are.
fn plugged(programs: &Programs, cri: Cri) -> (ContainerdDaemon, Daemon<'static>) {
    let user = Lighterman::new();
    let containerd = ContainerdDaemon::start_other(programs, cri, |text| set_up(&user, programs, &text));
    let daemon = Daemon::start_as(user, &containerd, "");
    (containerd, daemon)
}

/// The same on a disk of its own.
fn plugged_on_disk(programs: &Programs) -> (ContainerdDaemon, Daemon<'static>) {
    let user = Lighterman::new();
    let configure = |text: String| set_up(&user, programs, &text);
    let containerd = ContainerdDaemon::start_on_disk(Some(programs), powerloss::MEBIBYTES, configure);
    let daemon = Daemon::start_as(user, &containerd, "");
    (containerd, daemon)
}

/// Pulls the image as kubelet would.
fn pull_by_cri(containerd: &ContainerdDaemon, reference: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let mut images = CriImages::connect(&containerd.address()).await;
        let id = images.pull(reference).await;
        assert_eq!(images.status(reference).await.expect("is there").id, id);
    });
}

#[test]
fn what_we_unpack_for_containerd_outlives_a_loss_of_power() {
    let programs = newer(DIFFERS).remove(0);
    let (mut containerd, daemon) = plugged_on_disk(&programs);
    let liar = Liar::serving(powerloss::image(), "app:1");
    let reference = liar.reference("app:1");
    containerd.ctr_prints(&["images", "pull", "--local", "--plain-http", &reference]);
    assert_eq!(unpacked(&daemon), powerloss::image().manifests[0].layers.len(), "{}", daemon.log());
    containerd.lose_power(Journal::Written, || ());
    assert_eq!(powerloss::torn(&containerd, &reference), [""; 0]);
}

#[test]
fn an_image_that_ctr_pulls_is_unpacked_by_us_and_runs() {
    for programs in newer(DIFFERS) {
        let (containerd, daemon) = plugged(&programs, Cri::Off);
        let registry = Registry::plain();
        let reference = registry.push(fixture::busybox(), "library/busybox:1");
        // By the diff service where the transfer service is not ours.
        let local = if programs.version < TRANSFERS { "--local" } else { "--plain-http" };
        containerd.ctr_prints(&["images", "pull", local, "--plain-http", &reference]);
        let layers = fixture::busybox().of(host()).layers.len();
        assert_eq!(unpacked(&daemon), layers, "{programs:?}: {}{}", daemon.log(), containerd.log());
        assert_eq!(containerd.run("default", &[&reference, "first"]), greeting(host()));
    }
}

#[test]
fn an_image_that_kubernetes_pulls_is_unpacked_by_us() {
    for programs in newer(DIFFERS) {
        let (containerd, daemon) = plugged(&programs, Cri::On);
        let registry = Registry::plain();
        pull_by_cri(&containerd, &registry.push(fixture::busybox(), "library/busybox:1"));
        let layers = fixture::busybox().of(host()).layers.len();
        assert_eq!(unpacked(&daemon), layers, "{programs:?}: {}{}", daemon.log(), containerd.log());
    }
}

/// An image with a layer that we do not take: a window of 128 MiB is more memory than we give to one.
fn too_wide() -> Image {
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
    Image::single(manifest)
}

#[test]
fn what_we_do_not_take_goes_on_to_the_next_differ() {
    let image = too_wide();
    for programs in newer(DIFFERS) {
        let (containerd, daemon) = plugged(&programs, Cri::Off);
        let registry = Registry::plain();
        let reference = registry.push(&image, "app:1");
        // The transfer service has no next differ.
        containerd.ctr_prints(&["images", "pull", "--local", "--plain-http", &reference]);
        assert_eq!(unpacked(&daemon), 0, "{programs:?}: {}", daemon.log());
        assert!(daemon.log().contains("left to another differ"), "{programs:?}: {}", daemon.log());
    }
}

/// A configuration that names a folder with nothing but a link to lighterman as that of verifiers.
fn with_verifier(configuration: &str, dir: &Path) -> String {
    std::fs::create_dir(dir).expect("a writable home");
    symlink(env!("CARGO_BIN_EXE_lighterman"), dir.join("lighterman")).expect("a writable home");
    format!("{configuration}[plugins.\"io.containerd.image-verifier.v1.bindir\"]\n  bin_dir = {dir:?}\n")
}

#[test]
fn images_that_cannot_run_here_are_not_pulled() {
    for programs in newer(VERIFIERS) {
        let user = Lighterman::new();
        let dir = user.path("verifiers");
        let containerd = ContainerdDaemon::start_other(&programs, Cri::Off, |text| with_verifier(&text, &dir));
        let registry = Registry::plain();
        let good = registry.push(fixture::busybox(), "library/busybox:1");
        let bad = registry.push(&Image::single(elsewhere()), "app:1");
        containerd.ctr_prints(&["images", "pull", "--plain-http", &good]);
        assert_eq!(containerd.run("default", &[&good, "first"]), greeting(host()));
        let refused = containerd.ctr(&["images", "pull", "--plain-http", &bad]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("cannot run the image"),
            "{programs:?}: {said}\n{}",
            containerd.log()
        );
    }
}
