//! What is logged, where and in which form, and what never is.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use crate::support::fixture::{Image, base64, tiny};
use crate::support::host;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::sandbox::Sandbox;
use crate::support::token::{Policy, REFRESH_TOKEN, TokenServer, docker_auth};

fn image() -> Image {
    Image::single(tiny(host().arch, ""))
}

/// A configuration file with this text, as arguments.
fn configured(user: &Lighterman<'_>, text: &str) -> [String; 2] {
    let path = user.path("config.toml");
    std::fs::write(&path, text).expect("a writable home");
    ["--config".into(), path.to_str().expect("UTF-8").into()]
}

#[test]
fn a_pull_is_one_line_with_all_that_matters() {
    let registry = Registry::plain();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let pulled = user.run(&["pull", &reference, "--to", &destination, "--log-level", "info"]).succeeds();
    let lines: Vec<&str> = pulled.stderr.lines().filter(|line| line.contains("pull ended")).collect();
    let [line] = lines.as_slice() else { panic!("not one line but {lines:#?}") };
    let parts =
        [&reference, host().platform, &image().root.digest, "outcome=\"done\"", "bytes=", "seconds=", "door=\"cli\""];
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let missing = format!("{reference}-not");
    let failed = user.run(&["pull", &missing, "--to", &destination, "--log-level", "info"]).fails(exit::NOT_FOUND);
    let lines: Vec<&str> = failed.stderr.lines().filter(|line| line.contains("pull ended")).collect();
    let parts = ["outcome=\"not-found\"", "blame=the registry"];
    assert!(lines.len() == 1 && parts.iter().all(|part| lines[0].contains(part)), "{lines:#?}");
}

#[test]
fn json_lines_have_fields_and_the_spans_that_they_stand_in() {
    let registry = Registry::plain();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let config = configured(&user, "log-format = \"json\"\nlog-level = \"debug\"\n");
    let args = ["pull", &reference, "--to", &destination, "--json", &config[0], &config[1]];
    let pulled = user.run(&args).succeeds();
    let lines: Vec<Value> = pulled
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}")))
        .collect();
    let end = lines.iter().find(|line| line["message"] == "pull ended").expect("the line of the pull");
    assert_eq!((&end["level"], &end["outcome"]), (&"INFO".into(), &"done".into()));
    assert_eq!(end["digest"], image().root.digest);
    assert_eq!((&end["span"]["name"], &end["span"]["reference"]), (&"pull".into(), &reference.as_str().into()));
    assert!(end["timestamp"].is_string() && end["bytes"].is_u64() && end["seconds"].is_f64(), "{end:#}");
    let phases: Vec<&str> = lines
        .iter()
        .filter(|line| line["message"] == "phase ended")
        .filter_map(|line| line["span"]["name"].as_str())
        .collect();
    assert_eq!(phases, ["resolve", "fetch", "name"], "a layout unpacks nothing");
}

#[test]
fn secrets_are_in_no_log_whatever_its_level_and_form() {
    let tokens = TokenServer::start(Policy::Users);
    let (basic, token) = (Registry::basic(), Registry::token(&tokens));
    let encoded = base64(&format!("{USER}:{PASSWORD}"));
    for format in ["text", "json"] {
        for (name, registry) in [("basic", &basic), ("token", &token)] {
            let reference = registry.push(&image(), "app:1");
            let user = Lighterman::new();
            let (_, destination) = user.layout("layout");
            let config = configured(&user, &format!("log-format = \"{format}\"\nlog-level = \"trace\"\n"));
            let args =
                ["pull", &reference, "--to", &destination, "-u", USER, "--password-stdin", &config[0], &config[1]];
            let pulled = user.run_with_stdin(&args, &format!("{PASSWORD}\n")).succeeds();
            assert!(pulled.stderr.contains("request"), "nothing was logged:\n{}", pulled.stderr);
            // Tokens are JWTs, which all begin alike.
            for secret in [PASSWORD, &encoded, "eyJ", REFRESH_TOKEN] {
                assert!(!pulled.stderr.contains(secret), "{name}, {format}: {secret} is in\n{}", pulled.stderr);
            }
        }
    }
    let identity = serde_json::json!({ "auths": { token.address(): {
        "auth": base64("00000000-0000-0000-0000-000000000000:"), "identitytoken": REFRESH_TOKEN,
    } } });
    let user = Lighterman::new().with_docker_config(&identity);
    let asked = user.run(&["resolve", &token.reference("app:1"), "--log-level", "trace"]).succeeds();
    assert!(!asked.stderr.contains(REFRESH_TOKEN) && !asked.stderr.contains("eyJ"), "{}", asked.stderr);
    let known = Lighterman::new().with_docker_config(&docker_auth(basic.address(), USER, PASSWORD));
    let asked = known.run(&["resolve", &basic.reference("app:1"), "--log-level", "trace"]).succeeds();
    assert!(!asked.stderr.contains(PASSWORD) && !asked.stderr.contains(&encoded), "{}", asked.stderr);
}

/// Every message that the journal got, as its fields; our values have no line feeds, so that
/// each is `NAME\n`, eight bytes of length, the value and `\n`, or `NAME=value\n`.
fn fields(socket: &UnixDatagram) -> Vec<Vec<(String, String)>> {
    let mut messages = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    socket.set_nonblocking(true).expect("a socket of ours");
    while let Ok(length) = socket.recv(&mut buffer) {
        if length > 0 {
            messages.push(read(&buffer[..length]));
        }
    }
    messages
}

fn read(mut rest: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = text(&rest[..end]);
        rest = &rest[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.push((name.into(), value.into()));
            continue;
        }
        let (length, behind) = rest.split_first_chunk::<8>().expect("a length");
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("a short value");
        fields.push((line, text(&behind[..length])));
        rest = &behind[length + 1..];
    }
    fields
}

#[test]
fn under_systemd_the_journal_gets_fields() {
    let registry = Registry::plain();
    let reference = registry.push(&image(), "app:1");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let socket = UnixDatagram::bind(dir.path().join("socket")).expect("a socket");
    let sandbox = Sandbox::with_journal(dir.path());
    let stderr = std::fs::File::create(dir.path().join("stderr")).expect("a writable folder");
    let found = stderr.metadata().expect("an open file");
    let user = Lighterman::inside(&sandbox);
    let (_, destination) = user.layout("layout");
    let pull = |stream: String| {
        let mut command = user.command(&["pull", &reference, "--to", &destination, "--log-level", "info"]);
        command.env("JOURNAL_STREAM", stream).stderr(stderr.try_clone().expect("an open file"));
        assert!(command.status().expect("lighterman starts").success());
        let said = std::fs::read_to_string(dir.path().join("stderr")).expect("UTF-8");
        (fields(&socket), said)
    };
    let (messages, said) = pull(format!("{}:{}", found.dev(), found.ino()));
    let has = |message: &[(String, String)], name: &str, value: &str| message.contains(&(name.into(), value.into()));
    let end = messages.iter().find(|message| has(message, "MESSAGE", "pull ended"));
    let end = end.unwrap_or_else(|| panic!("no line of the pull in {messages:#?}"));
    for (name, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "lighterman"),
        ("LIGHTERMAN_OUTCOME", "done"),
        ("LIGHTERMAN_REFERENCE", &reference),
        ("LIGHTERMAN_DIGEST", &image().root.digest),
    ] {
        assert!(has(end, name, value), "{name} is not {value} in {end:#?}");
    }
    assert!(!said.contains("pull ended"), "it is told twice:\n{said}");
    // Inherited from a service, while stderr leads elsewhere.
    let (messages, said) = pull("1:1".into());
    assert!(messages.is_empty() && said.contains("pull ended"), "{messages:?}\n{said}");
}
