//! The command line itself: help, exit codes, what goes where.

use crate::support::fixture::{Image, tiny};
use crate::support::host;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;

#[test]
fn help_shows_every_command_with_defaults_and_examples() {
    let user = Lighterman::new();
    let overview = user.run(&["--help"]).succeeds();
    for command in ["host", "resolve", "pull", "inspect", "manifest", "config", "demo"] {
        assert!(overview.stdout.contains(command), "{}", overview.stdout);
        let help = user.run(&[command, "--help"]).succeeds();
        assert!(help.stdout.contains("Usage: lighterman"), "{command}: {}", help.stdout);
        assert!(help.stdout.to_lowercase().contains("example"), "{command} has no example: {}", help.stdout);
        assert_eq!(help.stderr, "");
    }
    let pull = user.run(&["pull", "--help"]).succeeds().stdout;
    for part in [
        "--to",
        "--platform",
        "--all-platforms",
        "--hosts-dir",
        "--plain-http",
        "--user",
        "--password-stdin",
        "--containerd-address",
        "CONTAINERD_ADDRESS",
        "/run/containerd/containerd.sock",
        "--snapshotter",
        "overlayfs",
        "--namespace",
        "CONTAINERD_NAMESPACE",
        "/etc/containerd/certs.d",
        "--json",
        "--config",
        "--log-level",
    ] {
        assert!(pull.contains(part), "pull --help does not mention {part}:\n{pull}");
    }
    let version = user.run(&["--version"]).succeeds();
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn exit_codes_are_documented() {
    let help = Lighterman::new().run(&["--help"]).succeeds().stdout;
    for code in [64, 65, 66, 67, 69, 70, 73, 74, 75, 76, 77, 78, 130] {
        assert!(help.contains(&code.to_string()), "--help does not document exit code {code}:\n{help}");
    }
}

#[test]
fn unknown_commands_and_flags_are_usage_errors() {
    let user = Lighterman::new();
    let cases: [&[&str]; 6] =
        [&[], &["launch"], &["pull"], &["host", "--colour"], &["resolve", "app", "--color", "mauve"], &["resolve"]];
    for args in cases {
        let outcome = user.run(args).ends(exit::USAGE);
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
    }
    user.run(&["resolve", "app:1", "--json", "--platform", "a/b/c/d"]).ends(exit::USAGE).error();
}

#[test]
fn host_tells_what_this_node_runs() {
    let user = Lighterman::new();
    let text = user.run(&["host"]).succeeds();
    assert!(text.stdout.contains(host().platform), "{}", text.stdout);
    assert!(!text.stdout.contains('\x1b'), "colours in a pipe");
    let document = user.run(&["host", "--json"]).succeeds().json();
    assert!(document.to_string().contains(host().platform), "{document:#}");
}

#[test]
fn colours_come_when_they_are_asked_for() {
    let user = Lighterman::new();
    let refused = |more: &[&str]| user.run(&[&["resolve", "quay.io/App"], more].concat()).ends(exit::USAGE).stderr;
    assert!(refused(&["--color", "always"]).contains('\x1b'));
    for quiet in [&[][..], &["--color", "auto"], &["--color", "never"]] {
        assert!(!refused(quiet).contains('\x1b'), "{quiet:?}");
    }
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let user = Lighterman::new();
    assert!(user.run(&["--json", "host"]).succeeds().json().is_object());
    assert!(user.run(&["host", "--json"]).succeeds().json().is_object());
}

#[test]
fn logs_are_on_standard_error_and_only_when_wanted() {
    let registry = Registry::plain();
    let reference = registry.push(&Image::single(tiny(host().arch, "")), "app:1");
    let quiet = Lighterman::new().run(&["resolve", &reference]).succeeds();
    assert_eq!(quiet.stderr, "");
    let flag = Lighterman::new().run(&["resolve", &reference, "--log-level", "debug"]).succeeds();
    let variable = Lighterman::new().with("LIGHTERMAN_LOG", "debug").run(&["resolve", &reference]).succeeds();
    for chatty in [flag, variable] {
        assert_eq!(chatty.stdout, quiet.stdout);
        assert!(!chatty.stderr.is_empty());
    }
}

#[test]
fn a_configuration_file_that_cannot_be_used_is_named() {
    let user = Lighterman::new();
    let file = user.path("config.toml");
    std::fs::write(&file, "surely = [not toml").expect("a writable home");
    let path = file.to_str().expect("UTF-8");
    user.run(&["host", "--config", path]).fails(exit::CONFIGURATION).says(&[path]);
    Lighterman::new().with("LIGHTERMAN_CONFIG", path).run(&["host"]).fails(exit::CONFIGURATION);
    user.run(&["host", "--config", "/nonexistent/lighterman.toml"]).fails(exit::CONFIGURATION);
}

#[test]
fn a_reader_that_goes_away_is_not_an_error_of_ours() {
    use std::process::Stdio;
    let user = Lighterman::new();
    let mut child = user.command(&["--help"]).stdout(Stdio::piped()).spawn().expect("lighterman starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("lighterman ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
}
