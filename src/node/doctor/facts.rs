//! What is looked at, read once.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;

use super::probe::{self, Answer};
use crate::core::reference::Reference;
use crate::host::Emulator;
use crate::node::setup::{self, Root};
use crate::registry::{HostOptions, hosts_for};

/// Answers on port 80 with the time, without TLS, which fails where the clock is wrong.
const TIME_SERVER: &str = "registry-1.docker.io:80";
/// More folders than anybody has registries for.
const MOST_REGISTRIES: usize = 100;

/// Everything that `doctor` looks at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The daemon's socket.
    pub daemon: Service,
    /// The mirror's port.
    pub mirror: Service,
    /// Ports from this one on can be taken by anybody.
    pub first_free_port: Option<u16>,
    /// containerd.
    pub containerd: Runtime,
    /// Its files, and those of kubelet, docker and podman.
    pub setup: setup::Facts,
    /// What is missing to connect them.
    pub missing: setup::Steps,
    /// hosts.toml files that cannot be used, and why.
    pub broken_hosts: Vec<String>,
    /// What time it is.
    pub clock: Clock,
    /// File systems that images land on.
    pub disks: Vec<Disk>,
    /// Staging directories that exist.
    pub staging: Vec<Folder>,
    /// File systems that the kernel knows, as /proc/filesystems lists them.
    pub filesystems: Option<String>,
    /// What is registered in binfmt_misc.
    pub emulators: Vec<Emulator>,
}

/// Something that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where.
    pub address: String,
    /// The file, if it is one.
    pub file: Option<SocketFile>,
    /// What it says.
    pub answer: Answer,
}

/// A socket in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFile {
    /// It is a socket, not something else of that name.
    pub is_socket: bool,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
}

/// What is known of the running containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Its socket.
    pub address: String,
    /// The version that it tells, or why it does not.
    pub version: Result<String, String>,
    /// Whether blobs can be linked into it; `None` where that was not tried.
    pub links: Option<Result<(), String>>,
    /// Whether trees can become snapshots by a rename.
    pub renames: Option<Result<(), String>>,
}

/// What time it is, and what it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// This node's.
    pub now: SystemTime,
    /// When this program was made.
    pub built: Option<SystemTime>,
    /// A registry's, where one could be reached.
    pub registry: Option<SystemTime>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A folder on it that matters.
    pub path: String,
    /// Bytes that it has, and that are free.
    pub bytes: (u64, u64),
    /// Files that it can have, and can have more; 0 where it does not count.
    pub inodes: (u64, u64),
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: String,
    /// Its owner.
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Facts {
    /// Looks at this node. What containerd says of itself was asked before. `staging` is where
    /// downloads go, where that is not for us to choose.
    pub async fn gather(
        root: &Root,
        wanted: &setup::Wanted,
        (containerd, staging): (Runtime, Option<&Path>),
        emulators: Vec<Emulator>,
    ) -> Self {
        let socket = Path::new(&wanted.socket);
        let (daemon, mirror, registry) =
            tokio::join!(probe::grpc(socket), probe::registry(&wanted.mirror), probe::time(TIME_SERVER));
        let setup = setup::Facts::read(root);
        let containerd_root = setup.containerd.as_ref().and_then(|node| node.settings.as_ref().ok());
        let containerd_root =
            containerd_root.map_or_else(|| "/var/lib/containerd".to_owned(), |settings| settings.root().to_owned());
        let usual =
            || ["/var/lib/lighterman/staging".to_owned(), format!("{containerd_root}/io.lighterman.staging")].to_vec();
        let staging = staging.map_or_else(usual, |named| vec![named.display().to_string()]);
        let port = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
        Self {
            daemon: Service { address: wanted.socket.clone(), file: socket_file(socket), answer: daemon },
            mirror: Service { address: wanted.mirror.clone(), file: None, answer: mirror },
            first_free_port: port.and_then(|text| text.trim().parse().ok()),
            containerd,
            missing: setup::plan(&setup, wanted),
            broken_hosts: broken_hosts(root, &setup),
            setup,
            clock: Clock { now: SystemTime::now(), built: built(), registry },
            disks: disks(&[containerd_root.as_str(), "/var/lib/lighterman"]),
            staging: staging.iter().filter_map(|path| folder(path)).collect(),
            filesystems: std::fs::read_to_string("/proc/filesystems").ok(),
            emulators,
        }
    }
}

fn socket_file(path: &Path) -> Option<SocketFile> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let is_socket = metadata.file_type().is_socket();
    Some(SocketFile { is_socket, mode: metadata.mode() & 0o7777, uid: metadata.uid() })
}

/// A program cannot be older than its file.
fn built() -> Option<SystemTime> {
    std::fs::metadata(std::env::current_exe().ok()?).ok()?.modified().ok()
}

/// The file systems of some paths, each once.
fn disks(paths: &[&str]) -> Vec<Disk> {
    let mut seen = Vec::new();
    let there = paths.iter().filter_map(|path| Some((path, existing(path)?)));
    let once = there.filter_map(|(path, folder)| {
        let device = std::fs::metadata(folder).ok()?.dev();
        let is_new = !seen.contains(&device);
        seen.push(device);
        disk(path, folder).filter(|_| is_new)
    });
    once.collect()
}

/// The path, or the folder in which it would be made.
fn existing(path: &str) -> Option<&Path> {
    Path::new(path).ancestors().find(|folder| folder.exists())
}

fn disk(path: &str, there: &Path) -> Option<Disk> {
    let stat = statvfs(there).ok()?;
    #[allow(clippy::useless_conversion, reason = "not useless on 32-bit targets")]
    let (block, blocks, free) =
        (u64::from(stat.fragment_size()), u64::from(stat.blocks()), u64::from(stat.blocks_available()));
    #[allow(clippy::useless_conversion, reason = "not useless on 32-bit targets")]
    let inodes = (u64::from(stat.files()), u64::from(stat.files_available()));
    Some(Disk { path: path.into(), bytes: (blocks.saturating_mul(block), free.saturating_mul(block)), inodes })
}

fn folder(path: &str) -> Option<Folder> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some(Folder { path: path.into(), uid: metadata.uid(), mode: metadata.mode() & 0o7777 })
}

/// Reads every hosts.toml as a pull would.
fn broken_hosts(root: &Root, setup: &setup::Facts) -> Vec<String> {
    let Some(node) = &setup.containerd else { return Vec::new() };
    let Some(folder) = node.hosts.path.strip_suffix("/_default/hosts.toml") else { return Vec::new() };
    let options = HostOptions { hosts_dirs: vec![PathBuf::from(folder)], ..HostOptions::default() };
    let registries = root.list(folder).into_iter().take(MOST_REGISTRIES).map(|name| match name.as_str() {
        // Any registry without a folder of its own.
        "_default" => "registry.invalid".to_owned(),
        name => name
            .strip_suffix('_')
            .and_then(|name| name.rsplit_once('_'))
            .map_or_else(|| name.to_owned(), |(host, port)| format!("{host}:{port}")),
    });
    let references = registries.filter_map(|registry| format!("{registry}/x/y").parse::<Reference>().ok());
    references.filter_map(|reference| hosts_for(&reference, &options).err()).map(|error| error.to_string()).collect()
}
