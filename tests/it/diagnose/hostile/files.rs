//! Names, links and configs that lead nowhere, or on for ever.

use serde_json::{Value, json};

use super::survive;
use crate::diagnose::{exec, image_of};
use crate::support::debian::AMD64;
use crate::support::fixture::Tree;
use crate::support::lighterman::exit;

fn amd64(tree: Tree, run: &Value) -> crate::support::fixture::Image {
    image_of("amd64", "", &[tree.layer()], run)
}

#[test]
fn links_without_an_end_are_told() {
    let chain = (0..60).fold(Tree::new(), |tree, step| tree.symlink(&format!("l{step}"), &format!("l{}", step + 1)));
    for (what, tree, program) in [
        ("itself", Tree::new().symlink("app", "app"), "/app"),
        ("each other", Tree::new().symlink("a", "b").symlink("b", "a"), "/a"),
        ("a folder in itself", Tree::new().symlink("a", "a/b"), "/a/app"),
        ("folders that grow", Tree::new().symlink("a", "b/b/b").symlink("b", "a/a/a"), "/a/app"),
        ("more links than Linux follows", chain.file("l60", 0o755, &AMD64.busybox()), "/l0"),
    ] {
        survive(what, &amd64(tree, &exec(program))).finds(what, "ELF-004");
    }
}

#[test]
fn links_out_of_the_image_stay_inside_of_it() {
    // The files exist on this machine, and not in the image.
    for (what, tree) in [
        ("up and away", Tree::new().symlink("app", "../../../../../../bin/sh")),
        ("absolute", Tree::new().symlink("app", "/bin/sh")),
        ("by a folder", Tree::new().symlink("up", "../../../..").symlink("app", "up/bin/sh")),
        ("by /proc", Tree::new().symlink("app", "/proc/self/exe")),
    ] {
        survive(what, &amd64(tree, &exec("/app"))).finds(what, "ELF-004");
    }
}

#[test]
fn scripts_for_scripts_for_ever_are_told() {
    let tree = Tree::new().file("a", 0o755, b"#!/b\n").file("b", 0o755, b"#!/a\n");
    survive("two scripts", &amd64(tree, &exec("/a"))).finds("two scripts", "ELF-003");
    let tree = Tree::new().file("a", 0o755, b"#!/a\n");
    survive("one script", &amd64(tree, &exec("/a"))).finds("one script", "ELF-003");
}

#[test]
fn configs_with_absurd_commands_end_in_a_finding() {
    let long = "x".repeat(1 << 20);
    let deep = "d/".repeat(100_000);
    for (what, run) in [
        ("a PATH of a megabyte", json!({ "Cmd": ["app"], "Env": [format!("PATH=/{long}")] })),
        (
            "a PATH of many folders",
            json!({ "Cmd": ["app"], "Env": [format!("PATH={}", "/some/folder:".repeat(10_000))] }),
        ),
        ("a PATH of colons", json!({ "Cmd": ["app"], "Env": [format!("PATH={}", ":".repeat(100_000))] })),
        ("a name of a megabyte", json!({ "Cmd": [format!("/{long}")] })),
        ("a deep name", json!({ "Cmd": [format!("/{deep}app")] })),
        (
            "a name and a PATH",
            json!({ "Cmd": ["y".repeat(10_000)], "Env": [format!("PATH={}", "/p:".repeat(10_000))] }),
        ),
        ("an empty name", json!({ "Entrypoint": [""], "Cmd": ["x"] })),
        ("a name with a NUL", json!({ "Cmd": ["/a\u{0}pp"] })),
        ("a slash", json!({ "Cmd": ["/"] })),
        ("a dot", json!({ "Cmd": ["./."], "WorkingDir": "/../.." })),
        ("dots", json!({ "Cmd": ["../".repeat(50_000)] })),
        ("a command line as a name", json!({ "Cmd": ["/app --serve"] })),
    ] {
        let image = amd64(Tree::new().file("etc/motd", 0o644, b"ahoy\n"), &run);
        let end = survive(what, &image);
        let found = end.document["findings"].to_string();
        assert!(end.code == Some(exit::CONTENT) || found.contains("ELF-00"), "{what}: {found}");
    }
}

#[test]
fn a_hundred_thousand_arguments_are_no_reason_to_complain() {
    let arguments: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let run = json!({ "Entrypoint": ["/app"], "Cmd": arguments });
    let end = survive("arguments", &amd64(Tree::new().file("app", 0o755, &AMD64.busybox()), &run));
    assert_eq!(end.errors(None), Vec::<&str>::new());
}

#[test]
fn a_shell_command_of_a_megabyte_is_not_followed_for_ever() {
    for (what, line) in [
        ("quotes", "'\"".repeat(1 << 19)),
        ("assignments", "A=1 ".repeat(1 << 18)),
        ("substitutions", "$(".repeat(1 << 19)),
        ("ends", "\\\n".repeat(1 << 19)),
    ] {
        let tree = Tree::new().file("bin/sh", 0o755, &AMD64.busybox());
        let end = survive(what, &amd64(tree, &json!({ "Cmd": ["/bin/sh", "-c", line] })));
        assert!(!end.document.is_null(), "{what}: {}", end.stderr);
    }
}

#[test]
fn a_bomb_before_the_program_is_left_alone() {
    // A thousandth of it is transferred.
    let tree = Tree::new().file("a-bomb", 0o644, &vec![0; 256 << 20]).file("app", 0o755, &AMD64.busybox());
    let end = survive("bomb", &amd64(tree, &exec("/app")));
    assert!(!end.document.is_null(), "{}", end.stderr);
}

#[test]
fn a_layer_of_very_many_names_is_survived() {
    let tree = (0..200_000).fold(Tree::new(), |tree, number| tree.file(&format!("n/{number}"), 0o644, b""));
    survive("names", &amd64(tree, &exec("/app")));
}
