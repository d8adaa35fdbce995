//! The daemon's health by gRPC, as probes and other daemons ask for it.

use std::path::Path;
use std::process::{Command, Stdio};

use lighterman::grpc::channel;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Image};
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::{Lighterman, Running};
use crate::support::{host, tool};

const API: &str = "lighterman.v1.Lighterman";
const CRI: &str = "runtime.v1.ImageService";
const DIFF: &str = "containerd.services.diff.v1.Diff";

type Client = HealthClient<tonic::transport::Channel>;

fn connect(daemon: &Daemon<'_>) -> Client {
    HealthClient::new(channel(&daemon.socket(), || {}))
}

async fn status(client: &Client, service: &str) -> Result<ServingStatus, Code> {
    let asked = client.clone().check(HealthCheckRequest { service: service.into() }).await;
    asked.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// Waits until these are the states of our API, CRI, the differ, and all together.
async fn wait_for(client: &Client, states: [ServingStatus; 4]) {
    for (service, state) in [API, CRI, DIFF, ""].into_iter().zip(states) {
        while status(client, service).await != Ok(state) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_containerd_is_healthy_while_it_answers() {
    use ServingStatus::{NotServing, Serving};
    let mut containerd = ContainerdDaemon::start_with(Cri::On);
    let daemon = Daemon::start(&containerd);
    let client = connect(&daemon);
    wait_for(&client, [Serving; 4]).await;
    assert_eq!(status(&client, "no.such.Service").await, Err(Code::NotFound));
    containerd.kill();
    wait_for(&client, [Serving, NotServing, NotServing, Serving]).await;
    containerd.start_again();
    wait_for(&client, [Serving; 4]).await;
    // One that hangs takes connections, too.
    containerd.pause();
    wait_for(&client, [Serving, NotServing, NotServing, Serving]).await;
    containerd.resume();
    wait_for(&client, [Serving; 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cri_is_not_healthy_where_containerd_has_none() {
    let containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    let client = connect(&daemon);
    use ServingStatus::{NotServing, Serving};
    wait_for(&client, [Serving, NotServing, Serving, Serving]).await;
    assert_eq!(status(&client, CRI).await, Ok(NotServing));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_healthy_while_the_daemon_drains() {
    let image = Image::single(fixture::busybox().of(host()).clone());
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
    let request = format!("GET /v2/app/blobs/{}", image.manifests[0].layers[2].digest);
    liar.plan(&request, [Reply::Gated(At::AfterHead)]);
    let mut daemon = Daemon::start(&containerd);
    let client = connect(&daemon);
    let running = daemon.user().spawn(&["pull", &liar.reference("app:1")]);
    tokio::task::block_in_place(|| liar.wait_for(&request));
    let mut watched = Vec::new();
    for service in [API, CRI, DIFF, ""] {
        let asked = client.clone().watch(HealthCheckRequest { service: service.into() }).await;
        let mut states = asked.expect("is known").into_inner();
        states.message().await.expect("is told").expect("how it is now");
        watched.push((service, states));
    }
    daemon.process().signal(Signal::SIGTERM);
    for (service, states) in &mut watched {
        loop {
            let told = states.message().await.expect("is told").unwrap_or_else(|| panic!("{service}: not told"));
            if told.status() == ServingStatus::NotServing {
                break;
            }
        }
    }
    liar.open_gate();
    tokio::task::block_in_place(|| {
        running.wait().succeeds();
        daemon.take().wait().succeeds();
    });
}

/// Connects as often as the kernel lets us.
fn crowd(socket: &Path, connections: usize) -> Vec<std::os::unix::net::UnixStream> {
    (0..connections).map(|_| std::os::unix::net::UnixStream::connect(socket).expect("the queue is long")).collect()
}

#[test]
fn a_daemon_without_file_descriptors_takes_callers_again_when_some_leave() {
    const MORE: u64 = 16;
    let containerd = ContainerdDaemon::start();
    let mut daemon = Daemon::start(&containerd);
    let pid = daemon.process().id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("is ours").count() as u64;
    let limit = rustix::process::Rlimit { current: Some(open + MORE), maximum: Some(open + MORE) };
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    rustix::process::prlimit(Some(process), rustix::process::Resource::Nofile, limit).expect("is ours");
    let callers = crowd(&daemon.socket(), 4 * MORE as usize);
    daemon.wait_for_log("connections cannot be taken");
    drop(callers);
    assert_eq!(daemon.pulls().len(), 0);
    assert_eq!(daemon.log().matches("connections cannot be taken").count(), 1, "{}", daemon.log());
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let user = Lighterman::new();
    let socket = user.path("lighterman.sock");
    let plain = user.command(&["serve", "--listen", socket.to_str().expect("UTF-8")]);
    let mut limited = Command::new(tool("prlimit", "util-linux"));
    limited.arg("--nofile=200:3000").arg(plain.get_program()).args(plain.get_args());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::of(limited);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(!running.has_ended(), "the daemon ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).expect("is ours");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("is limited");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["3000", "3000"], "{files}");
}
