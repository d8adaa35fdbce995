//! How much memory a pull takes, whatever the size of the blob and the speed of the disk.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::{MIB, Pull};
use crate::support::fixture::{Blob, Image, Manifest, platform};
use crate::support::liar::{At, Flood, Liar, Reply, When, sent};
use crate::support::{host, succeed};

/// What a pull may have resident at its peak.
const MOST: u64 = 128 * 1024;

/// An image whose layer is a flood. Nobody unpacks it.
pub(crate) fn image_of(flood: &Flood) -> Image {
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let platform = platform(host().arch, host().variant);
    let mut config = platform.clone();
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [flood.digest] });
    let config = Blob::json("application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [{ "mediaType": layer, "digest": flood.digest, "size": flood.size }],
    });
    let blob = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest);
    Image::single(Manifest { blob, config, layers: Vec::new(), platform })
}

/// Pulls a flood and gives the most that the program had resident when all but the last byte
/// was sent, in KiB.
fn peak_of(pull: &Pull, liar: &Liar, flood: &Flood) -> u64 {
    let request = format!("GET /v2/app/blobs/{}", flood.digest);
    liar.always(When::from(&request).covering(flood.size - 1), Reply::Gated(At::LastByte));
    let mut running = pull.spawn();
    let nearly = |requests: &[crate::support::liar::Request]| {
        let of_flood: Vec<_> = requests.iter().filter(|r| r.line().contains(&request)).cloned().collect();
        sent(&of_flood) + 1 >= flood.size
    };
    assert!(liar.wait_until(&mut running, nearly), "it ended before all was sent: {:?}", running.wait());
    let peak = running.proc_value("status", "VmHWM").expect("it waits for the last byte");
    liar.open_gate();
    running.wait().succeeds();
    let landed = pull.layout.join("blobs").join(flood.digest.replace(':', "/"));
    assert_eq!(landed.metadata().expect("it landed").len(), flood.size as u64);
    peak
}

#[test]
fn a_gigabyte_from_a_fast_registry_takes_no_more_memory_than_an_eighth_of_it() {
    let peaks = [128 * MIB, 1024 * MIB].map(|size| {
        let flood = Flood::new(size);
        let liar = Liar::serving(&image_of(&flood), "app:1");
        liar.add_flood(&flood);
        // The layout goes with its user, before the next one.
        peak_of(&Pull::from(&liar), &liar, &flood)
    });
    assert!(peaks.iter().all(|peak| *peak < MOST), "{peaks:?} KiB");
    assert!(peaks[1] < peaks[0] + 32 * 1024, "it grows with the blob: {peaks:?} KiB");
}

/// A disk on which every write waits until it is really there.
struct SlowDisk {
    folder: TempDir,
}

impl SlowDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        std::fs::create_dir(&root).expect("a writable temporary folder");
        let file = std::fs::File::create(&image).expect("a writable temporary folder");
        file.set_len(600 * MIB as u64).expect("a sparse file");
        succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        succeed(Command::new("mount").args(["-o", "loop,sync"]).arg(&image).arg(&root));
        Self { folder }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.root()).status();
    }
}

#[test]
fn a_disk_that_is_slower_than_the_network_slows_the_network_down_and_fills_no_memory() {
    let disk = SlowDisk::mount();
    let flood = Flood::new(300 * MIB);
    let liar = Liar::serving(&image_of(&flood), "app:1");
    liar.add_flood(&flood);
    let pull = Pull::from(&liar).into(&disk.root());
    let peak = peak_of(&pull, &liar, &flood);
    assert!(peak < MOST, "{peak} KiB");
}

impl Pull {
    /// The same into a layout in another folder.
    fn into(mut self, folder: &Path) -> Self {
        let layout = folder.join("layout");
        for arg in &mut self.args {
            if arg.starts_with("oci:") {
                *arg = format!("oci:{}", layout.display());
            }
        }
        Self { layout, ..self }
    }
}
