//! Programs that are started by others: by entrypoint scripts, by small inits, by a shell.

use serde_json::{Value, json};

use super::{Diagnosis, Surveyor, image_of};
use crate::support::debian::{AMD64, ARM64, Port};
use crate::support::fixture::Tree;

/// A script as official images have it: it prepares, knows options, steps down from root, and becomes
/// its command. Longer than what is kept of the start of a file.
const SCRIPT: &str = r#"#!/usr/bin/env bash
set -Eeo pipefail

_prepare() {
	mkdir -p "$DATA"
	# PADDING
}

_main() {
	# an option alone is for the server
	if [ "${1:0:1}" = '-' ]; then
		set -- server "$@"
	fi
	if [ "$1" = 'server' ] && [ "$(id -u)" = '0' ]; then
		_prepare
		exec gosu server "$0" "$@"
	fi
	exec "$@"
}

if ! _is_sourced; then
	_main "$@"
fi
"#;

/// A base of one port, with the script and everything that it needs, and this server.
fn official(port: &Port, server: &[u8]) -> Tree {
    let script = SCRIPT.replace("PADDING", &"x".repeat(9000));
    Tree::new()
        .file("bin/bash", 0o755, &port.busybox())
        .file("usr/bin/env", 0o755, &port.busybox())
        .file("usr/local/bin/docker-entrypoint.sh", 0o755, script.as_bytes())
        .file("usr/lib/server/16/bin/server", 0o755, server)
}

fn run() -> Value {
    json!({
        "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["server"],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/server/16/bin"],
    })
}

fn look(surveyor: &Surveyor, tree: Tree, run: &Value) -> Diagnosis {
    surveyor.look(&image_of("amd64", "", &[tree.layer()], run), &["linux/amd64", "linux/arm64"])
}

#[track_caller]
fn message(diagnosis: &Diagnosis, id: &str) -> String {
    let finding = diagnosis.with_id(id).next().unwrap_or_else(|| panic!("no {id}: {:?}", diagnosis.problems()));
    finding["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_command_behind_an_entrypoint_script_is_the_program() {
    let surveyor = Surveyor::new();
    let well = look(&surveyor, official(&AMD64, &AMD64.busybox()), &run());
    assert_eq!(well.outcomes(), ["linux/amd64 runs", "linux/arm64 refused"]);
    assert_eq!(well.errors(), Vec::<&Value>::new());
    let then = &well.document["images"][0]["start"]["then"];
    assert_eq!(then[0]["way"], "docker-entrypoint.sh -> bash", "{then:#}");
    assert_eq!(then[1]["way"], "docker-entrypoint.sh -> bash -> exec \"$@\" -> server", "{then:#}");
    assert_eq!(then[1]["files"][0]["path"], "/usr/lib/server/16/bin/server", "{then:#}");
    assert_eq!(then[1]["certain"], true, "{then:#}");

    let foreign = look(&surveyor, official(&AMD64, &ARM64.busybox()), &run());
    assert_eq!(foreign.outcomes(), ["linux/amd64 fails", "linux/arm64 refused"]);
    let errors = foreign.errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let said = message(&foreign, "ELF-007");
    assert!(said.contains("docker-entrypoint.sh -> bash -> exec \"$@\" -> server"), "{said}");

    // The server asks for a loader that the image does not have.
    let alone = look(&surveyor, official(&AMD64, &AMD64.hello()), &run());
    assert_eq!(alone.outcomes()[0], "linux/amd64 fails");
    assert!(message(&alone, "ELF-001").contains("exec \"$@\" -> server"));
}

#[test]
fn a_script_that_only_may_start_something_is_a_warning() {
    let script = "#!/bin/sh\ncase \"$1\" in\n  serve) exec /bin/sh -c serve;;\n  *) exec \"$@\";;\nesac\n";
    let tree = Tree::new().file("bin/sh", 0o755, &AMD64.busybox()).file("entry.sh", 0o755, script.as_bytes()).file(
        "usr/bin/tool",
        0o755,
        &ARM64.busybox(),
    );
    let layers = [tree.layer()];
    let surveyor = Surveyor::new();
    let run = |command: &str| json!({ "Entrypoint": ["/entry.sh"], "Cmd": [command] });
    let look = |command: &str| {
        let image = image_of("amd64", "", &layers, &run(command));
        surveyor.look(&image, &["linux/amd64"])
    };
    assert_eq!(look("tool").finds(&["ELF-007 warning"]).outcomes(), ["linux/amd64 runs"]);
    // A name of its own, and no file.
    look("serve").finds(&[]);
}

#[test]
fn programs_behind_inits_are_checked_like_the_first() {
    let surveyor = Surveyor::new();
    let tree = |app: &[u8]| {
        let tini = Tree::new().file("sbin/tini", 0o755, &AMD64.busybox());
        let others = ["usr/bin/dumb-init", "usr/bin/env", "usr/local/bin/gosu", "usr/bin/catatonit"];
        others.iter().fold(tini, |tree, path| tree.hardlink(path, "sbin/tini")).file("app", 0o755, app)
    };
    for words in [
        vec!["/sbin/tini", "--", "/app"],
        vec!["tini", "-s", "/app"],
        vec!["dumb-init", "/app", "-v"],
        vec!["env", "FOO=1", "/app"],
        vec!["gosu", "nobody", "/app"],
        vec!["catatonit", "--", "env", "-i", "/app"],
    ] {
        let run = json!({ "Entrypoint": words });
        let well = surveyor.look(&image_of("amd64", "", &[tree(&AMD64.busybox()).layer()], &run), &["linux/amd64"]);
        assert_eq!(well.finds(&[]).outcomes(), ["linux/amd64 runs"], "{words:?}");
        let image = image_of("amd64", "", &[tree(&ARM64.busybox()).layer()], &run);
        let foreign = surveyor.look(&image, &["linux/amd64"]).finds(&["ELF-007 error"]);
        assert_eq!(foreign.outcomes(), ["linux/amd64 fails"], "{words:?}");
        let without = tree(&AMD64.hello()).layer();
        let missing = surveyor.look(&image_of("amd64", "", &[without], &run), &["linux/amd64"]);
        assert_eq!(missing.finds(&["ELF-001 error"]).outcomes(), ["linux/amd64 fails"], "{words:?}");
    }
}

#[test]
fn text_without_an_interpreter_is_run_by_a_shell_and_by_nobody_else() {
    let surveyor = Surveyor::new();
    let tree = || Tree::new().file("bin/sh", 0o755, &AMD64.busybox()).file("run", 0o755, b"echo hello\n");
    let look = |run: &Value| surveyor.look(&image_of("amd64", "", &[tree().layer()], run), &["linux/amd64"]);
    look(&json!({ "Cmd": ["/bin/sh", "-c", "/run"] })).finds(&[]);
    look(&json!({ "Cmd": ["/bin/sh", "-c", "exec /run"] })).finds(&[]);
    look(&json!({ "Cmd": ["/run"] })).finds(&["ELF-003 error"]);
}

#[test]
fn a_foreign_program_in_a_right_image_is_one_error() {
    // FROM the base for arm64, COPY of a program for amd64.
    let tree = ARM64.system().file("app", 0o755, &AMD64.hello());
    let image = image_of("arm64", "", &[tree.layer()], &super::exec("/app"));
    let found = Surveyor::new().look(&image, &["linux/arm64"]);
    let errors = found.errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let said = message(&found, "ELF-001");
    assert!(said.contains(ARM64.loader) && said.contains("the config says linux/arm64"), "{said}");
}

#[test]
fn following_keeps_to_the_budget() {
    use crate::support::fixture::noise;
    // The command lies behind more bytes than may be read.
    let big = Tree::new().file("a.bin", 0o644, &noise(7, 8 << 20)).file("usr/bin/app", 0o755, &ARM64.busybox());
    let script = b"#!/bin/sh\nexec \"$@\"\n";
    let base = Tree::new().file("entry.sh", 0o755, script).file("bin/sh", 0o755, &AMD64.busybox());
    let run = json!({ "Entrypoint": ["/entry.sh"], "Cmd": ["app"] });
    let image = image_of("amd64", "", &[big.layer(), base.layer()], &run);
    let found = Surveyor::new().look_with(&image, &["linux/amd64"], &["--budget", "2097152"]).finds(&[]);
    assert_eq!(found.outcomes(), ["linux/amd64 runs"]);
    let then = &found.document["images"][0]["start"]["then"][0];
    assert!(then["stopped"].as_str().is_some_and(|text| text.contains("budget")), "{then:#}");
}
