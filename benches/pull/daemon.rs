//! A stock containerd on a disk of its own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::disk::Disk;
use super::measure;

/// A running containerd; it ends with this.
pub(crate) struct Containerd {
    child: Child,
    address: PathBuf,
}

impl Containerd {
    /// Starts one with its root on `disk` and everything else in `scratch`, and waits for it.
    pub(crate) fn start(disk: &Disk, scratch: &Path) -> Self {
        let (address, config) = (scratch.join("containerd.sock"), scratch.join("containerd.toml"));
        // Of an earlier one, which would look as if this one were ready.
        let _ = std::fs::remove_file(&address);
        std::fs::write(&config, configuration(disk.path(), scratch)).expect("a writable scratch folder");
        let log = File::create(scratch.join("containerd.log")).expect("a writable scratch folder");
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            // A stock node has neither igzip nor unpigz.
            .envs([("CONTAINERD_DISABLE_IGZIP", "1"), ("CONTAINERD_DISABLE_PIGZ", "1")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("containerd (apt-get install containerd) does not start: {error}"));
        let mut daemon = Self { child, address };
        while UnixStream::connect(&daemon.address).is_err() {
            if let Some(status) = daemon.child.try_wait().expect("its state") {
                let log = std::fs::read_to_string(scratch.join("containerd.log")).unwrap_or_default();
                panic!("containerd ended with {status}:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// Its socket.
    pub(crate) fn address(&self) -> &Path {
        &self.address
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        measure::cpu_of(self.child.id())
    }

    /// Peak memory so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        measure::peak_of(self.child.id())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(disk: &Path, scratch: &Path) -> String {
    let (disk, scratch) = (disk.display(), scratch.display());
    // Kubernetes' plug-ins, which would look for a network; one before 2.0, and two since.
    format!(
        r#"version = 2
root = "{disk}/containerd"
state = "{scratch}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "{scratch}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{scratch}/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"#
    )
}
