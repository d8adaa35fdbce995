//! One layer that containerd has, extracted by the Diff service of containerd or of our daemon:
//! the same call with the same mounts, as containerd's unpacker makes it.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::{ApplyRequest, ListContentRequest};
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use containerd_client::types::Descriptor;
use tokio::runtime::Runtime;

use super::daemon::Containerd;
use super::measure::{self, Cost};
use super::outcome::Turn;
use super::pullers::{Puller, Task, environment};
use super::sandbox::run;

/// Has one layer extracted, and takes the figures.
pub(crate) fn apply(puller: &Puller, task: &Task<'_>) -> Turn {
    run(&mut Puller::Peer.command(task));
    let containerd = task.landing.daemon.as_ref().expect("a differ needs containerd");
    let ours = match puller {
        Puller::Ours(program, _) | Puller::Before(program) => Some(Daemon::start(program, containerd, task)),
        Puller::Peer => None,
    };
    let runtime = Runtime::new().expect("threads");
    let (wall, used) = runtime.block_on(async {
        let store = connect(containerd.address()).await;
        let apply = prepared(&store).await;
        let differ = if let Some(daemon) = &ours { connect(&daemon.socket).await } else { store };
        let (used, started) = (containerd.cpu(), Instant::now());
        DiffClient::new(differ).apply(request(apply)).await.expect("extracts");
        (started.elapsed(), containerd.cpu().saturating_sub(used))
    });
    let (cpu, peak) = ours.as_ref().map(|daemon| (daemon.cpu(), daemon.peak())).unwrap_or_default();
    Turn {
        client: Cost { wall, cpu, peak },
        sync: task.landing.disk.sync(),
        daemon_cpu: used,
        daemon_peak: containerd.peak(),
        ..Turn::default()
    }
}

/// The request to extract the largest of all blobs into a snapshot without parents.
async fn prepared(store: &Channel) -> ApplyRequest {
    let listed = ContentClient::new(store.clone()).list(request(ListContentRequest::default())).await;
    let mut listed = listed.expect("containerd answers").into_inner();
    let mut largest = (0, String::new());
    while let Some(reply) = listed.message().await.expect("containerd answers") {
        largest = reply.info.into_iter().map(|info| (info.size, info.digest)).fold(largest, Ord::max);
    }
    let (size, digest) = largest;
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip".into();
    let layer = Descriptor { media_type, digest, size, ..Descriptor::default() };
    let prepare = PrepareSnapshotRequest {
        snapshotter: "overlayfs".into(),
        key: "extracted".into(),
        labels: [("containerd.io/gc.root".to_owned(), "bench".to_owned())].into(),
        ..PrepareSnapshotRequest::default()
    };
    let prepared = SnapshotsClient::new(store.clone()).prepare(request(prepare)).await.expect("prepares");
    ApplyRequest { diff: Some(layer), mounts: prepared.into_inner().mounts, ..ApplyRequest::default() }
}

async fn connect(socket: &Path) -> Channel {
    containerd_client::connect(socket).await.expect("somebody answers")
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", "default".parse().expect("a header"));
    request
}

/// A running daemon of ours; it ends with this.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(program: &Path, containerd: &Containerd, task: &Task<'_>) -> Self {
        let (socket, config) = (task.scratch.join("lighterman.sock"), task.scratch.join("serve.toml"));
        let staging = task.landing.disk.path().join("staging");
        // containerd's own does not write trees through either.
        let text = format!(
            "[containerd]\naddress = {:?}\nstaging-dir = {staging:?}\nsync-snapshots = false\n",
            containerd.address()
        );
        std::fs::write(&config, text).expect("a writable scratch folder");
        // Of an earlier one, which would look as if this one were ready.
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).args(["serve", "--listen"]).arg(&socket);
        environment(&mut command, task.scratch);
        let log = File::create(task.scratch.join("lighterman.log")).expect("a writable scratch folder");
        command.env_remove("CONTAINERD_ADDRESS").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut daemon = Self { child: command.spawn().expect("the program starts"), socket };
        while UnixStream::connect(&daemon.socket).is_err() {
            let ended = daemon.child.try_wait().expect("its state");
            assert!(ended.is_none(), "lighterman ended with {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    fn cpu(&self) -> Duration {
        measure::cpu_of(self.child.id())
    }

    /// In bytes.
    fn peak(&self) -> u64 {
        measure::peak_of(self.child.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
