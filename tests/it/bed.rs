//! The test bed itself, checked with clients that are not ours: a fault here would
//! otherwise look like one of lighterman.

use std::process::Command;

use crate::support::certs::Authority;
use crate::support::fixture::{self, Flavour};
use crate::support::liar::{Liar, Reply};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::remote::{Passport, Remote};
use crate::support::sandbox::Sandbox;
use crate::support::token::{Policy, TokenServer};
use crate::support::{ARM64, MACHINES, build, debian, files_below, succeed, tool};

fn skopeo(args: &[&str]) -> Command {
    let mut command = Command::new(tool("skopeo", "skopeo"));
    command.args(["--insecure-policy"]).args(args);
    command
}

#[test]
fn a_layout_goes_to_the_registry_and_back_with_the_same_digests() {
    let registry = Registry::plain();
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (image, tag) in [(fixture::busybox(), "oci"), (fixture::busybox_docker(), "docker")] {
        let pushed = registry.push(image, &format!("library/busybox:{tag}"));
        let out = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{pushed}")]).output();
        assert_eq!(out.expect("skopeo runs").stdout, image.root.bytes);
    }
    let layout = dir.path().join("layout");
    fixture::busybox().write_layout(&layout, "busybox");
    let source = format!("oci:{}:busybox", layout.display());
    let copied = format!("docker://{}", registry.reference("copied/busybox:1"));
    succeed(&mut skopeo(&["copy", "--all", "--dest-tls-verify=false", &source, &copied]));
    let (status, body) = registry.remote().get("/v2/copied/busybox/manifests/1");
    assert_eq!((status, &body), (200, &fixture::busybox().root.bytes));
}

#[test]
fn the_busybox_image_has_programs_of_three_machines_and_a_big_layer_for_all() {
    let image = fixture::busybox();
    let big = &image.of(ARM64).layers[2];
    assert!(big.bytes.len() >= fixture::CARGO_BYTES);
    for machine in MACHINES {
        let program = fixture::busybox_program(machine);
        assert_eq!(&program[..4], b"\x7fELF");
        assert_eq!(program[18], machine.elf, "{} has programs of another machine", machine.platform);
        assert_eq!(image.of(machine).layers[2].digest, big.digest);
    }
    assert_eq!(image.root.media_type, Flavour::Oci.index());
}

#[test]
fn programs_of_debian_run_on_the_machines_that_they_are_said_to_be_for() {
    for port in debian::PORTS {
        let program = port.busybox();
        let machine = if program[5] == 1 { [program[18], program[19]] } else { [program[19], program[18]] };
        assert_eq!(u16::from_le_bytes(machine), port.elf, "{}", port.name);
        assert_eq!(build::run(&program, port.arch, &["busybox", "echo", port.name]), format!("{}\n", port.name));
        let loader = port.loader.as_bytes();
        assert!(port.hello().windows(loader.len()).any(|bytes| bytes == loader), "{}", port.name);
        assert_eq!(port.loader_program()[18..20], program[18..20], "{}", port.name);
    }
}

#[test]
fn programs_of_go_run_on_the_machines_that_they_are_built_for() {
    let levels = [("arm", "GOARM=5"), ("arm", "GOARM=6"), ("arm", "GOARM=7"), ("amd64", "GOAMD64=v2")];
    // The emulator of Debian 12 for 386 does not know all that Go does there.
    let plain = ["amd64", "arm64", "ppc64le", "s390x", "riscv64", "mips64le"].map(|arch| (arch, ""));
    for (arch, level) in levels.into_iter().chain(plain) {
        assert_eq!(build::run(&build::go(arch, level), arch, &["app"]), build::greeting(arch), "{level}");
    }
}

#[test]
fn the_registry_with_tls_is_trusted_through_its_own_authority_only() {
    let registry = Registry::tls();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let certs = tempfile::tempdir().expect("a temporary folder");
    let source = format!("docker://{reference}");
    let trusting = ["inspect", "--raw", "--cert-dir", certs.path().to_str().expect("UTF-8"), &source];
    let refused = skopeo(&trusting).output().expect("skopeo runs");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("x509"), "{refused:?}");
    std::fs::copy(registry.ca(), certs.path().join("ca.crt")).expect("a writable temporary folder");
    assert_eq!(succeed(&mut skopeo(&trusting)).stdout, fixture::busybox().root.bytes);
}

#[test]
fn the_registry_with_mutual_tls_serves_nobody_without_a_certificate() {
    let registry = Registry::mutual_tls();
    assert_eq!(registry.remote().get("/v2/").0, 200);
    let curl = |args: &[&str]| {
        let mut command = Command::new(tool("curl", "curl"));
        command.args(["--silent", "--noproxy", "*", "--cacert"]).arg(registry.ca()).args(args);
        command.arg(format!("https://{}/v2/", registry.address())).output().expect("curl runs")
    };
    assert!(!curl(&[]).status.success());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let stranger = Authority::new("strangers").client(dir.path());
    let (certificate, key) = (stranger.certificate.to_str().expect("UTF-8"), stranger.key.to_str().expect("UTF-8"));
    assert!(!curl(&["--cert", certificate, "--key", key]).status.success());
}

#[test]
fn the_registry_with_passwords_knows_one_user() {
    let registry = Registry::basic();
    let reference = format!("docker://{}", registry.push(fixture::busybox(), "library/busybox:1"));
    let inspect =
        |creds: &str| skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", creds, &reference]).output();
    assert_eq!(inspect(&format!("{USER}:{PASSWORD}")).expect("skopeo runs").stdout, fixture::busybox().root.bytes);
    assert!(!inspect(&format!("{USER}:wrong")).expect("skopeo runs").status.success());
}

#[test]
fn the_registry_with_tokens_takes_those_of_our_token_server() {
    let tokens = TokenServer::start(Policy::Users);
    let registry = Registry::token(&tokens);
    let reference = format!("docker://{}", registry.push(fixture::busybox(), "library/busybox:1"));
    let inspect = |more: &[&str]| {
        let args = [&["inspect", "--raw", "--tls-verify=false"], more, &[&reference]].concat();
        skopeo(&args).output().expect("skopeo runs")
    };
    assert!(!inspect(&["--no-creds"]).status.success());
    assert!(!inspect(&["--creds", "porter:wrong"]).status.success());
    let known = inspect(&["--creds", &format!("{USER}:{PASSWORD}")]);
    assert_eq!(known.stdout, fixture::busybox().root.bytes, "{known:?}");
    let asked = tokens.asked();
    assert!(asked.iter().any(|a| a.user == USER && a.scopes == ["repository:library/busybox:pull"]), "{asked:?}");
}

#[test]
fn a_stale_token_is_refused_by_the_registry() {
    let tokens = TokenServer::start(Policy::Anonymous);
    let registry = Registry::token(&tokens);
    registry.push(fixture::busybox(), "library/busybox:1");
    let ask = || {
        let address = tokens.realm().replace("http://", "").replace("/token", "");
        let scope = "/token?service=lighterman-test-registry&scope=repository:library/busybox:pull";
        let (_, body) = Remote::new(&address, Passport::default()).get(scope);
        let reply: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let authorization = Some(format!("Bearer {}", reply["token"].as_str().expect("a token")));
        let remote = Remote::new(registry.address(), Passport { authorization, ..Passport::default() });
        remote.get("/v2/library/busybox/manifests/1").0
    };
    tokens.hand_out_stale(1);
    assert_eq!([ask(), ask()], [401, 200]);
}

#[test]
fn the_liar_is_honest_until_told_to_lie() {
    let image = fixture::busybox();
    let liar = Liar::serving(image, "app:1");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (source, target) =
        (format!("docker://{}", liar.reference("app:1")), format!("oci:{}:app", dir.path().display()));
    succeed(&mut skopeo(&["copy", "--all", "--src-tls-verify=false", &source, &target]));
    assert!(files_below(dir.path()).contains(&format!("blobs/sha256/{}", image.root.hex())));
}

#[test]
fn the_liar_lies_as_told() {
    const PARTIAL_FILE: i32 = 18;
    const RECEIVE_ERROR: i32 = 56;
    let image = fixture::busybox();
    let liar = Liar::serving(image, "app:1");
    let big = &image.of(ARM64).layers[2];
    let get = |reply: Reply, more: &[&str]| {
        liar.plan("GET /v2/app/blobs/", [reply]);
        let mut curl = Command::new(tool("curl", "curl"));
        curl.args(["--silent", "--noproxy", "*"]).args(more).arg(format!(
            "http://{}/v2/app/blobs/{}",
            liar.address(),
            big.digest
        ));
        let output = curl.output().expect("curl runs");
        (output.status.code().unwrap_or_default(), output.stdout)
    };
    let range = ["--range", "100-199"];
    assert_eq!(get(Reply::Honest, &range), (0, big.bytes[100..200].to_vec()));
    assert_eq!(get(Reply::WrongRange, &range).1.len(), big.bytes.len() - 1);
    assert_eq!(get(Reply::IgnoreRange, &range).1, big.bytes);
    assert_eq!(get(Reply::CutAfter(1000), &[]), (PARTIAL_FILE, big.bytes[..1000].to_vec()));
    assert_eq!(get(Reply::ResetAfter(1000), &[]).0, RECEIVE_ERROR);
    assert_eq!(get(Reply::TooMuch(10), &[]).1.len(), big.bytes.len() + 10);
    let (_, flipped) = get(Reply::Flipped(5000), &[]);
    assert_eq!(flipped.iter().zip(&big.bytes[..]).filter(|(a, b)| a != b).count(), 1);
    assert_eq!(flipped.len(), big.bytes.len());
}

#[test]
fn the_access_log_counts_requests() {
    let registry = Registry::plain();
    registry.push(fixture::busybox(), "app:1");
    let remote = registry.remote();
    remote.get("/v2/app/manifests/1");
    remote.get("/v2/app/manifests/1");
    let log = registry.stop();
    assert_eq!(log.count("GET", "/manifests/1"), 2);
    assert_eq!(log.count("PUT", "/manifests/1"), 1);
}

#[test]
fn a_small_disk_gets_full_and_a_read_only_one_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("file");
    let shell = tool("sh", "dash");
    let script = format!("head -c 400000 /dev/zero > '{}'", file.display());
    let small = Sandbox::small_disk(dir.path(), 256);
    let full = small.command(&shell).args(["-c", &script]).output().expect("nsenter runs");
    assert!(String::from_utf8_lossy(&full.stderr).contains("No space left"), "{full:?}");
    assert!(small.path(&file).exists());
    assert!(!file.exists(), "the small disk leaked out of its sandbox");
    drop(small);
    let frozen = Sandbox::read_only(dir.path()).command(&shell).args(["-c", &script]).output().expect("nsenter runs");
    assert!(String::from_utf8_lossy(&frozen.stderr).contains("Read-only"), "{frozen:?}");
}
