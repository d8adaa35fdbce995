//! Whose the daemon's socket is, who may use it, and that it leads to nobody but the daemon.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::lighterman::{Lighterman, Running, exit};

#[test]
fn a_second_daemon_does_not_take_the_socket_away() {
    let containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    let socket: PathBuf = daemon.socket();
    let args = ["serve", "--listen", socket.to_str().expect("UTF-8")];
    Lighterman::new().run(&args).fails(exit::CONFIGURATION).says(&["another lighterman daemon answers"]);
    assert_eq!(daemon.pulls(), [] as [Value; 0]);
}

#[test]
fn who_is_neither_root_nor_in_its_group_cannot_speak_to_it() {
    use std::fs::{Permissions, copy, metadata, set_permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65534;
    let containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    let (socket, folder) = (daemon.socket(), tempfile::tempdir().expect("a temporary folder"));
    let program = folder.path().join("lighterman");
    copy(env!("CARGO_BIN_EXE_lighterman"), &program).expect("where everybody may run it");
    // Anybody may go through the folders, so that it is the socket that keeps them out.
    for folder in [folder.path(), socket.parent().expect("a folder")] {
        set_permissions(folder, Permissions::from_mode(0o755)).expect("a folder of ours");
    }
    let pulls = |user: u32, group: u32| {
        let mut command = std::process::Command::new(&program);
        command.args(["--address", socket.to_str().expect("UTF-8"), "pulls"]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.uid(user).gid(group);
        Running::of(command).wait()
    };
    let group = metadata(&socket).expect("a socket").gid();
    pulls(NOBODY, NOBODY).fails(exit::UNAVAILABLE).says(&["Permission denied", "only root and the daemon's group"]);
    pulls(NOBODY, group).succeeds();
    // Nothing but its mode kept them out.
    set_permissions(&socket, Permissions::from_mode(0o666)).expect("a socket of root's");
    pulls(NOBODY, NOBODY).succeeds();
}

#[test]
fn what_it_is_to_pass_on_to_is_not_itself() {
    let containerd = ContainerdDaemon::start();
    let files = Lighterman::new();
    let [socket, link] = ["own.sock", "link.sock"].map(|name| files.path(name));
    std::os::unix::fs::symlink(&socket, &link).expect("a link");
    let address = containerd.address();
    let [socket, link, address] = [&socket, &link, &address].map(|path| path.to_str().expect("UTF-8"));
    for (containerd, cri, key) in [(address, link, "cri.endpoint"), (socket, address, "containerd.address")] {
        let file = files.path("own.toml");
        std::fs::write(&file, format!("[cri]\nendpoint = {cri:?}\n")).expect("a configuration");
        let args = ["serve", "--listen", socket, "--config", file.to_str().expect("UTF-8")];
        let user = Lighterman::new().with("CONTAINERD_ADDRESS", containerd);
        user.run(&args).fails(exit::USAGE).says(&[key, "lighterman's own"]);
    }
}
