//! What the daemon tells Prometheus, and what it takes over when its configuration is read again.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{self, Flavour, Image, Manifest, Tree, platform};
use crate::support::lighterman::{Lighterman, Outcome, Running, exit};
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{foreign, host};

/// A daemon that serves metrics.
struct Served<'a> {
    administrator: Lighterman<'a>,
    running: Running,
    address: SocketAddr,
}

impl Served<'static> {
    fn start(containerd: &ContainerdDaemon) -> Self {
        Self::start_as(Lighterman::new(), containerd)
    }
}

impl<'a> Served<'a> {
    fn start_as(administrator: Lighterman<'a>, containerd: &ContainerdDaemon) -> Self {
        // Free now, and nobody else is given it so soon.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let served = |more: &str| {
            let staging = administrator.path("staging");
            format!("{more}\n[containerd]\nstaging-dir = {staging:?}\n[metrics]\nlisten = \"{address}\"\n")
        };
        let config = administrator.path("config.toml");
        std::fs::write(&config, served("log-level = \"error\"")).expect("a writable home");
        std::fs::write(administrator.path("later.toml"), served("log-level = \"info\"\nmax-connections = 9"))
            .expect("a writable home");
        let (socket, containerd) = (administrator.path("lighterman.sock"), containerd.address());
        let [config, socket, containerd] = [&config, &socket, &containerd].map(|path| path.to_str().expect("UTF-8"));
        let args = ["serve", "--listen", socket, "--config", config, "--containerd-address", containerd];
        let mut command = administrator.command(&args);
        command.stderr(File::create(administrator.path("log")).expect("a writable home"));
        let running = Running::of(command);
        let mut served = Self { running, address, administrator };
        while !(served.socket().exists() && TcpStream::connect(address).is_ok()) {
            assert!(!served.running.has_ended(), "the daemon ended: {}", served.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }

    fn socket(&self) -> PathBuf {
        self.administrator.path("lighterman.sock")
    }

    /// Asks it to pull.
    fn pull(&self, reference: &str) -> Outcome {
        let user = Lighterman::new().with("LIGHTERMAN_ADDRESS", self.socket().to_str().expect("UTF-8"));
        let mut command = user.command(&["pull", reference]);
        // Which containerd is the daemon's affair.
        command.env_remove("CONTAINERD_ADDRESS");
        Running::of(command).wait()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.administrator.path("log")).unwrap_or_default()
    }

    /// Head and body of a reply.
    fn get(&self, path: &str, host: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("takes a request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("UTF-8");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
        (head.to_lowercase(), body.to_owned())
    }

    /// The value of a sample.
    fn value(&self, sample: &str) -> f64 {
        let (_, page) = self.get("/metrics", &self.address.to_string());
        let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("no {sample} in\n{page}"))
    }
}

#[test]
fn pulls_are_counted_by_door_outcome_and_phase_and_bytes_by_their_source() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let served = Served::start(&containerd);
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    served.pull(&reference).succeeds();
    let fetched = served.value("lighterman_content_bytes_total{source=\"registry\"}");
    assert!(fetched > 100_000.0, "{fetched} bytes came from the registry");
    assert_eq!(served.value("lighterman_content_bytes_total{source=\"local\"}"), 0.0);
    served.pull(&reference).succeeds();
    served.pull(&format!("{reference}-not")).fails(exit::NOT_FOUND);

    let pulls = |outcome: &str| served.value(&format!("lighterman_pulls_total{{door=\"api\",outcome=\"{outcome}\"}}"));
    assert_eq!((pulls("done"), pulls("not-found")), (2.0, 1.0));
    let phases =
        |phase: &str| served.value(&format!("lighterman_pull_phase_duration_seconds_count{{phase=\"{phase}\"}}"));
    let counts = ["resolve", "fetch", "unpack", "name", "whole"].map(phases);
    assert_eq!(counts, [3.0, 1.0, 1.0, 1.0, 3.0], "the second pull had nothing to fetch, the third no image");
    assert_eq!(served.value("lighterman_content_bytes_total{source=\"registry\"}"), fetched, "it came twice");
    assert!(served.value("lighterman_content_bytes_total{source=\"local\"}") > 100_000.0);
    assert!(served.value("lighterman_attempts_total{host=\"registry\",result=\"ok\"}") > 3.0);
    assert!(served.value("lighterman_attempts_total{host=\"registry\",result=\"not-found\"}") >= 1.0);
    for idle in ["pulls_in_flight{door=\"api\"}", "downloads_in_flight", "connections_in_flight", "memory_used_bytes"] {
        assert_eq!(served.value(&format!("lighterman_{idle}")), 0.0, "{idle}");
    }
    assert!(served.value("lighterman_memory_budget_bytes") > 1_000_000.0);
    assert!(served.value("lighterman_staging_bytes") >= 0.0);

    let (head, page) = served.get("/metrics", "localhost");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(!page.contains(registry.address()) && !page.contains("busybox"), "a name became a label:\n{page}");
    assert!(served.get("/healthz", "localhost").1.contains("ok"));
    assert!(served.get("/metrics", "evil.example").0.starts_with("http/1.1 421 "));
}

#[test]
fn images_that_do_not_run_here_are_counted_by_what_was_found_and_done() {
    let plain_node = Sandbox::without_emulators();
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let served = Served::start_as(Lighterman::inside(&plain_node), &containerd);
    let counted = |id: &str, action: &str| {
        served.value(&format!("lighterman_arch_mismatches_total{{id=\"{id}\",action=\"{action}\"}}"))
    };
    let program = Tree::new().file("app", 0o755, &fixture::busybox_program(foreign())).layer();
    let image = |arch| {
        Image::single(Manifest::new(Flavour::Oci, &platform(arch, ""), std::slice::from_ref(&program), ("/app", &[])))
    };
    let lying = registry.push(&image(host().arch), "lying:1");
    let honest = registry.push(&image(foreign().arch), "honest:1");
    served.pull(&lying).succeeds();
    served.pull(&honest).fails(exit::PLATFORM);
    assert_eq!((counted("PLAT-004", "warn"), counted("PLAT-011", "refuse")), (1.0, 1.0));
}

#[test]
fn a_reload_takes_up_the_log_level_and_names_what_needs_a_restart() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let served = Served::start(&containerd);
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    served.pull(&reference).succeeds();
    std::fs::rename(served.administrator.path("later.toml"), served.administrator.path("config.toml"))
        .expect("a writable home");
    served.running.signal(nix::sys::signal::Signal::SIGHUP);
    while !served.log().contains("count from the next start on: max-connections") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = served.log();
    assert!(before.contains("the configuration was read again") && !before.contains("pull ended"), "{before}");
    served.pull(&reference).succeeds();
    assert_eq!(served.log().matches("pull ended").count(), 1, "{}", served.log());
}
