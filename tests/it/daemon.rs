//! The daemon as a process, and the command line as its client.

mod socket;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Image, base64, greeting};
use crate::support::liar::{At, Ending, Liar, Reply};
use crate::support::lighterman::{Lighterman, Outcome, Running, exit};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Policy, TokenServer, docker_auth};
use crate::support::{files_below, foreign, free_address, host};

/// Bytes of the large layer that are sent before the registry falls silent.
const SENT: usize = 700_000;

/// The image that every node here runs, with one layer that is worth interrupting.
fn busybox() -> Image {
    Image::single(fixture::busybox().of(host()).clone())
}

fn big(image: &Image) -> &fixture::Blob {
    &image.manifests[0].layers[2]
}

/// A registry that sends a part of the large layer, and no more.
fn hanging(image: &Image) -> Liar {
    let liar = Liar::serving(image, "app:1");
    liar.plan(&format!("GET /v2/app/blobs/{}", big(image).digest), [Reply::HangAfter(SENT)]);
    liar
}

/// What a pull tells, but for the time that it took and where to.
fn told(outcome: &Outcome) -> Vec<Value> {
    let mut events = outcome.events();
    // Blobs arrive in any order.
    events.retain(|event| !event["event"].as_str().is_some_and(|name| name.starts_with("blob-")));
    for event in &mut events {
        for key in ["seconds", "destination"] {
            event.as_object_mut().expect("an object").remove(key);
        }
    }
    events
}

#[test]
fn tells_the_same_as_a_pull_without_it() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let daemon = Daemon::start(&containerd);
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let (asking, alone) = (daemon.user(), Lighterman::new());

    for args in [
        &["resolve", &reference][..],
        &["resolve", "--explain", &reference],
        &["--json", "resolve", "--explain", &reference],
    ] {
        let [asked, own] = [&asking, &alone].map(|user| user.run(args).succeeds());
        assert_eq!((&asked.stdout, &asked.stderr), (&own.stdout, &own.stderr), "{args:?}");
    }
    // Another containerd, since this one would give content of one namespace to the other.
    let other = ContainerdDaemon::start();
    let (address, staging) = (other.address(), alone.path("staging"));
    let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
    let asked = asking.run(&["pull", &reference, "--json", "-n", "one"]).succeeds();
    let own = alone.run(&[
        "pull",
        &reference,
        "--json",
        "-n",
        "two",
        "--containerd-address",
        address,
        "--staging-dir",
        staging,
    ]);
    let own = own.succeeds();
    assert_eq!(told(&asked), told(&own));
    assert!(asked.stdout.contains("containerd (namespace one)"), "{asked:?}");
    assert_eq!(containerd.run("one", &[&reference, "asked"]), greeting(host()));
    // Whoever reads the log sees who asked.
    assert!(daemon.log().contains("peer=lighterman["), "{}", daemon.log());

    let asked = asking.run(&["pull", &reference, "-n", "one"]).succeeds();
    assert!(asked.stderr.contains("nothing to fetch"), "{asked:?}");
}

#[test]
fn tells_the_same_errors_as_a_pull_without_it() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let daemon = Daemon::start(&containerd);
    let foreign = registry.push(&Image::single(fixture::busybox().of(foreign()).clone()), "foreign:1");
    let (asking, alone) = (daemon.user(), Lighterman::new());
    let cases = [
        (registry.reference("missing:1"), exit::NOT_FOUND),
        (foreign, exit::PLATFORM),
        ("127.0.0.1:1/app:1".to_owned(), exit::UNAVAILABLE),
        ("org/UPPER".to_owned(), exit::USAGE),
    ];
    for (reference, code) in cases {
        let [asked, own] = [&asking, &alone].map(|user| user.run(&["resolve", &reference]).fails(code));
        assert_eq!(without_seconds(&asked.stderr), without_seconds(&own.stderr));
        let [asked, own] =
            [&asking, &alone].map(|user| user.run(&["--json", "resolve", &reference]).ends(code).error());
        for key in ["kind", "message", "blame", "hint"] {
            assert_eq!(asked[key], own[key], "{key} of {reference}");
        }
        asking.run(&["pull", &reference]).fails(code);
    }
}

/// Times differ from run to run.
fn without_seconds(text: &str) -> String {
    let without = |line: &str| line.split(", after ").next().unwrap_or_default().to_owned();
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_pull_is_listed_and_cancelled_and_goes_on_next_time() {
    let image = busybox();
    let (containerd, liar) = (ContainerdDaemon::start(), hanging(&image));
    let daemon = Daemon::start(&containerd);
    let reference = liar.reference("app:1");
    let running = daemon.user().spawn(&["pull", &reference, "-n", "apps"]);
    let pulls =
        daemon.wait_for_pulls(|pulls| pulls.iter().any(|pull| pull["bytesDone"].as_u64() >= Some(SENT as u64 / 2)));
    let pull = &pulls[0];
    assert_eq!(
        (&pull["reference"], &pull["namespace"], &pull["phase"], &pull["door"]),
        (&json!(reference), &json!("apps"), &json!("landing"), &json!("api"))
    );
    assert!(pull["bytesTotal"].as_u64() > pull["bytesDone"].as_u64(), "{pull}");

    let id = pull["id"].to_string();
    daemon.user().run(&["cancel", &id]).succeeds();
    running.wait().ends(exit::INTERRUPTED);
    assert_eq!(daemon.pulls(), [] as [Value; 0]);
    daemon.user().run(&["cancel", &id]).fails(exit::NOT_FOUND).says(&["there is no pull"]);

    daemon.user().run(&["pull", &reference, "-n", "apps"]).succeeds();
    let asked = liar.requests_for(&format!("GET /v2/app/blobs/{}", big(&image).digest));
    assert!(asked[1..].iter().all(|request| request.range().is_some_and(|(first, _)| first > 0)), "{asked:?}");
    assert_eq!(containerd.run("apps", &[&reference, "resumed"]), greeting(host()));
}

#[test]
fn a_client_that_vanishes_takes_its_pull_with_it_and_nothing_else() {
    let image = busybox();
    let (containerd, liar) = (ContainerdDaemon::start(), hanging(&image));
    let daemon = Daemon::start(&containerd);
    let reference = liar.reference("app:1");
    let running = daemon.user().spawn(&["pull", &reference]);
    daemon.wait_for_pulls(|pulls| pulls.iter().any(|pull| pull["bytesDone"].as_u64() > Some(0)));
    running.kill();
    daemon.wait_for_pulls(<[Value]>::is_empty);
    assert_eq!(containerd.ctr_prints(&["images", "ls", "-q"]), "");
    assert!(containerd.ctr_prints(&["leases", "ls", "-q"]).trim().is_empty(), "a lease is left");
    assert_ne!(files_below(&daemon.staging()), [""; 0], "what was downloaded is lost");
    daemon.user().run(&["pull", &reference]).succeeds();
}

#[test]
fn many_callers_share_one_download_and_one_landing() {
    let image = busybox();
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
    let daemon = Daemon::start(&containerd);
    let reference = liar.reference("app:1");
    let running: Vec<_> = (0..12).map(|_| daemon.user().spawn(&["pull", &reference, "--json"])).collect();
    let outcomes: Vec<Outcome> = running.into_iter().map(|running| running.wait().succeeds()).collect();
    for layer in &image.manifests[0].layers {
        let asked = liar.requests_for(&format!("GET /v2/app/blobs/{}", layer.digest));
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
    let unpacked = |outcome: &Outcome| outcome.pulled()["layersUnpacked"].as_u64();
    let layers = image.manifests[0].layers.len() as u64;
    assert_eq!(outcomes.iter().filter_map(unpacked).sum::<u64>(), layers, "a layer was unpacked twice");
    // Each of them asked the registry for itself whether it may have the image.
    assert!(liar.requests_for("/v2/app/manifests/1").len() >= 12);
    assert_eq!(containerd.run("default", &[&reference, "shared"]), greeting(host()));
}

#[test]
fn a_caller_brings_credentials_of_his_own_and_nobody_else_gains_by_them() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::basic());
    let daemon = Daemon::start(&containerd);
    let reference = registry.push(fixture::busybox(), "private:1");
    let auth = base64(&format!("{USER}:{PASSWORD}"));
    let config = json!({"auths": {registry.address(): {"auth": auth}}});
    let (known, stranger) = (daemon.user().with_docker_config(&config), daemon.user());
    stranger.run(&["pull", &reference]).fails(exit::CREDENTIALS);
    known.run(&["pull", &reference]).succeeds();
    // All content is there by now, and that changes nothing.
    stranger.run(&["pull", &reference]).fails(exit::CREDENTIALS);
    stranger.run(&["resolve", &reference]).fails(exit::CREDENTIALS);
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
}

#[test]
fn a_login_that_was_taken_away_opens_nothing_at_the_next_pull() {
    let tokens = TokenServer::start(Policy::Users);
    let containerd = ContainerdDaemon::start();
    for registry in [Registry::basic(), Registry::token(&tokens)] {
        let reference = registry.push(fixture::busybox(), "app:1");
        let login = |password: &str| docker_auth(registry.address(), USER, password);
        let administrator = Lighterman::new().with_docker_config(&login(PASSWORD));
        let config = administrator.path("docker/config.json");
        let daemon = Daemon::start_as(administrator, &containerd, "");
        // Who brings nothing of his own pulls as the node.
        daemon.user().run(&["pull", &reference]).succeeds();
        std::fs::write(&config, login("herring-barrel").to_string()).expect("a writable home");
        daemon.user().run(&["pull", &reference]).fails(exit::CREDENTIALS);
        daemon.user().run(&["resolve", &reference]).fails(exit::CREDENTIALS);
        std::fs::write(&config, login(PASSWORD).to_string()).expect("a writable home");
        daemon.user().run(&["pull", &reference]).succeeds();
        std::fs::remove_file(&config).expect("it was there");
        for command in ["pull", "resolve", "diagnose"] {
            daemon.user().run(&[command, &reference]).fails(exit::CREDENTIALS);
        }
    }
}

#[test]
fn a_named_daemon_has_to_answer_and_cannot_follow_flags_for_this_process() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let daemon = Daemon::start(&containerd);
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let nobody = Lighterman::new().with("LIGHTERMAN_ADDRESS", "/nowhere/lighterman.sock");
    nobody.run(&["pull", &reference]).fails(exit::UNAVAILABLE).says(&["no lighterman daemon answers", "hint: "]);
    for flag in [&["--plain-http"][..], &["--max-bandwidth", "1MB"], &["--to", "oci:x"], &["--mirror", "http://m"]] {
        let args = [&["pull", &reference], flag].concat();
        daemon.user().run(&args).fails(exit::USAGE).says(&[flag[0], "--address"]);
    }
    let (_, destination) = nobody.layout("layout");
    nobody.run(&["--address", "none", "pull", &reference, "--to", &destination]).succeeds();
}

#[test]
fn a_daemon_that_says_nothing_is_named_and_not_worked_around() {
    let user = Lighterman::new();
    let (silent, config) = (user.path("silent.sock"), user.path("config.toml"));
    // Connections wait in its queue.
    let _listener = std::os::unix::net::UnixListener::bind(&silent).expect("binds");
    std::fs::write(&config, format!("[serve]\nlisten = {silent:?}\n")).expect("a writable home");
    let [silent, config] = [&silent, &config].map(|path| path.to_str().expect("UTF-8"));
    let reference = "127.0.0.1:1/app:1";
    let ways = [
        &["--config", config, "resolve", reference][..],
        &["--config", config, "pull", reference],
        &["--address", silent, "pull", reference],
        &["--address", silent, "pulls"],
    ];
    let running = ways.map(|args| {
        let mut command = user.command(args);
        command.env_remove("CONTAINERD_ADDRESS");
        Running::of(command)
    });
    for running in running {
        let outcome = running.wait().fails(exit::UNAVAILABLE);
        outcome.says(&[silent, "has answered nothing", "blame: this node", "systemctl restart lighterman"]);
    }
}

#[test]
fn it_starts_before_containerd_and_outlives_it() {
    let mut containerd = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    containerd.kill();
    let daemon = Daemon::start(&containerd);
    daemon.user().run(&["resolve", &reference]).succeeds();
    daemon.user().run(&["pull", &reference]).fails(exit::UNAVAILABLE).says(&["blame: this node"]);
    containerd.restart_configured("");
    daemon.user().run(&["pull", &reference, "-n", "one"]).succeeds();
    containerd.kill();
    daemon.user().run(&["pull", &reference, "-n", "one"]).fails(exit::UNAVAILABLE);
    containerd.restart_configured("");
    daemon.user().run(&["pull", &reference, "-n", "two"]).succeeds();
    assert_eq!(containerd.run("two", &[&reference, "again"]), greeting(host()));
}

#[test]
fn a_signal_to_stop_lets_a_pull_end_and_a_second_one_does_not() {
    let image = busybox();
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
    let request = format!("GET /v2/app/blobs/{}", big(&image).digest);
    liar.plan(&request, [Reply::Gated(At::AfterHead)]);
    let mut daemon = Daemon::start(&containerd);
    let reference = liar.reference("app:1");
    let running = daemon.user().spawn(&["pull", &reference]);
    liar.wait_for(&request);
    daemon.process().signal(Signal::SIGTERM);
    daemon.wait_for_log("stopping");
    liar.open_gate();
    running.wait().succeeds();
    daemon.take().wait().succeeds();
    assert!(!daemon.socket().exists(), "the socket is left behind");

    daemon.restart();
    let (image, liar) = (busybox(), Liar::start());
    liar.add(&image, "other:1");
    liar.plan(&format!("GET /v2/other/blobs/{}", big(&image).digest), [Reply::Breaks(Ending::Hang, At::AfterHead)]);
    let running =
        daemon.user().spawn(&["pull", &liar.reference("other:1"), "-n", "elsewhere", "--snapshotter", "native"]);
    daemon.wait_for_pulls(|pulls| !pulls.is_empty());
    for _ in 0..2 {
        daemon.process().signal(Signal::SIGTERM);
        daemon.wait_for_log("stopping");
    }
    daemon.take().wait().succeeds();
    running.wait();
}

#[test]
fn the_configuration_is_read_again_and_a_broken_one_changes_nothing() {
    let (containerd, image) = (ContainerdDaemon::start(), busybox());
    let (mirror, registry) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    let daemon_lines = |mirrors: &str| format!("mirrors = {mirrors}");
    let mut daemon = Daemon::start(&containerd);
    let reference = registry.reference("app:1");
    daemon.user().run(&["resolve", &reference]).succeeds();
    assert_eq!(mirror.requests().len(), 0);

    daemon.configure(&containerd, &daemon_lines(&format!("[\"http://{}\"]", mirror.address())));
    daemon.process().signal(Signal::SIGHUP);
    daemon.wait_for_log("read again");
    daemon.user().run(&["resolve", &reference]).succeeds();
    let asked = mirror.requests().len();
    assert!(asked > 0, "the mirror was not asked");

    daemon.configure(&containerd, &daemon_lines("7"));
    daemon.process().signal(Signal::SIGHUP);
    daemon.wait_for_log("stays as it was");
    daemon.user().run(&["resolve", &reference]).succeeds();
    assert!(mirror.requests().len() > asked, "the settings are lost");
}

#[test]
fn what_contradicts_itself_is_the_fault_of_whoever_said_it_last() {
    let files = Lighterman::new();
    let (file, socket) = (files.path("own.toml"), files.path("own.sock"));
    let own = format!("[serve]\nlisten = {socket:?}\n[cri]\nendpoint = {socket:?}\n");
    let [file, socket] = [&file, &socket].map(|path| path.to_str().expect("UTF-8"));
    let nothing = format!("[serve]\nlisten = {socket:?}\n");
    for (lines, flags, code, says) in [
        (&own, &[][..], exit::CONFIGURATION, "lighterman's own"),
        (&own, &["--listen", socket], exit::USAGE, "lighterman's own"),
        (&nothing, &["--mirror-listen", "192.0.2.1:5000"], exit::USAGE, "no loopback address"),
    ] {
        std::fs::write(file, lines).expect("a configuration");
        let blame = if code == exit::USAGE { "blame: the request" } else { "blame: the configuration" };
        let outcome = Lighterman::new().run(&[&["--config", file, "serve"], flags].concat()).fails(code);
        outcome.says(&[says, blame]);
    }
}

#[test]
fn no_core_file_has_its_memory() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "ulimit -c unlimited && kill -ABRT $$";
    let other = std::process::Command::new("sh").args(["-c", script]).current_dir(&folder).status().expect("a shell");
    assert!(other.core_dumped(), "other programs leave a core here, or nothing is proven");
    let containerd = ContainerdDaemon::start();
    let status = Daemon::start(&containerd).take().abort();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn a_pull_that_brings_nothing_is_given_up() {
    let image = busybox();
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
    liar.always("/v2/app/manifests/", Reply::Breaks(Ending::Hang, At::AfterHead));
    let daemon = Daemon::start_configured(&containerd, "[serve]\npull-progress-timeout = \"1s\"");
    let outcome = daemon.user().run(&["pull", &liar.reference("app:1")]).fails(exit::TRY_LATER);
    outcome.says(&["made no progress for 1 s"]);
}

#[test]
fn its_mirror_serves_other_clients_what_they_may_have() {
    let (containerd, registry, private) = (ContainerdDaemon::start(), Registry::plain(), Registry::basic());
    registry.push(fixture::busybox(), "library/busybox:1");
    private.push(fixture::busybox(), "private:1");
    let address = free_address();
    let lines = format!(
        "[mirror]\nlisten = [\"{address}\"]\nupstream = \"{}\"\nallow = [\"{}\"]",
        registry.address(),
        private.address()
    );
    let daemon = Daemon::start_configured(&containerd, &lines);
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let through = format!("{address}/library/busybox:1");
    user.run(&["pull", &through, "--to", &destination]).succeeds();
    assert!(layout.join("index.json").exists());
    let ask = |ns: &str, login: &[&str]| {
        let url = format!("http://{address}/v2/private/manifests/1?ns={ns}");
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(login).arg(url);
        String::from_utf8(crate::support::succeed(&mut command).stdout).expect("UTF-8")
    };
    assert_eq!(ask(private.address(), &[]), "401");
    assert_eq!(ask(private.address(), &["-u", &format!("{USER}:{PASSWORD}")]), "200");
    assert_eq!(ask(private.address(), &["-u", "nobody:nothing"]), "403");
    assert_ne!(ask("127.0.0.1:1", &[]), "200");
    assert_eq!(daemon.pulls(), [] as [Value; 0]);
}
