//! `lighterman config`: what is wrong with a file, and what holds in the end.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::lighterman::{Lighterman, exit};

/// A configuration file with this text in the user's home.
fn file(user: &Lighterman<'_>, text: &str) -> String {
    let path: PathBuf = user.path("config.toml");
    std::fs::write(&path, text).expect("a writable home");
    path.to_str().expect("UTF-8").to_owned()
}

/// What `config show --json` says of a key.
fn key<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let keys = shown["keys"].as_array().expect("keys");
    keys.iter().find(|key| key["key"] == name).unwrap_or_else(|| panic!("no {name} in {shown:#}"))
}

#[test]
fn check_says_every_mistake_with_its_place_and_ends_with_78() {
    let user = Lighterman::new();
    let path = file(&user, "log_level = \"info\"\nplain-http = 1\n[containerd]\nadress = \"/x\"\n");
    let says = [
        &path,
        "3 mistakes",
        "line 1, column 1: there is no key log_level: did you mean log-level?",
        "line 2, column 14: plain-http cannot be 1: it has to be true or false, as in plain-http = false",
        "line 4, column 1: there is no key containerd.adress: did you mean address?",
        "hint: ",
    ];
    user.run(&["config", "check", &path]).fails(exit::CONFIGURATION).says(&says);
    let named = user.run(&["config", "check", "--config", &path]).fails(exit::CONFIGURATION);
    named.says(&["3 mistakes"]);
    let document = user.run(&["config", "check", &path, "--json"]).ends(exit::CONFIGURATION);
    assert_eq!(document.error()["kind"], "invalid-configuration");
    let mistakes = document.json()["mistakes"].clone();
    assert_eq!(mistakes.as_array().map(Vec::len), Some(3), "{mistakes:#}");
    assert_eq!((&mistakes[1]["line"], &mistakes[1]["column"]), (&json!(2), &json!(14)));
    assert!(mistakes[1]["hint"].as_str().is_some_and(|hint| hint.contains("true or false")), "{mistakes:#}");
}

#[test]
fn check_accepts_what_the_program_accepts() {
    let user = Lighterman::new();
    let path = file(&user, "log-level = \"error\"\n[mirror]\nlisten = \"127.0.0.1:5000\"\n");
    let checked = user.run(&["config", "check", &path]).succeeds();
    assert!(checked.stdout.contains("no mistakes"), "{}", checked.stdout);
    assert_eq!(user.run(&["config", "check", &path, "--json"]).succeeds().json()["mistakes"], json!([]));
    user.run(&["config", "check", "/nonexistent/x.toml"]).fails(exit::CONFIGURATION).says(&["/nonexistent/x.toml"]);
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/config.toml");
    user.run(&["config", "check", packaged]).succeeds();
}

#[test]
fn show_tells_what_holds_and_who_says_so() {
    let user = Lighterman::new().with("LIGHTERMAN_LOG", "info").with("CONTAINERD_NAMESPACE", "moby");
    let path = file(&user, "log-level = \"debug\"\nmax-bandwidth = \"20MB\"\n[containerd]\nnamespace = \"k8s.io\"\n");
    let shown = user.run(&["config", "show", "--json", "--config", &path]).succeeds().json();
    assert_eq!((&shown["file"], &shown["found"]), (&json!(path), &json!(true)));
    let holds = |name: &str| (key(&shown, name)["value"].clone(), key(&shown, name)["from"].clone());
    assert_eq!(holds("log-level"), (json!("info"), json!("environment LIGHTERMAN_LOG")));
    assert_eq!(holds("max-bandwidth"), (json!("20MB"), json!("file")));
    assert_eq!(holds("containerd.namespace"), (json!("moby"), json!("environment CONTAINERD_NAMESPACE")));
    assert_eq!(holds("serve.pull-progress-timeout"), (json!("5m"), json!("default")));
    assert_eq!(key(&shown, "metrics.listen")["default"], "no metrics");
    for args in [["--log-level", "trace", "config", "show"], ["config", "show", "--log-level", "trace"]] {
        let shown = user.run(&[&args[..], &["--json"]].concat()).succeeds().json();
        assert_eq!(key(&shown, "log-level")["value"], "trace");
        assert_eq!(key(&shown, "log-level")["from"], "flag --log-level");
        assert_eq!(shown["found"], std::path::Path::new("/etc/lighterman/config.toml").exists());
    }
}

#[test]
fn what_show_prints_is_a_configuration_again() {
    let user = Lighterman::new();
    let path = file(&user, "[serve]\nmax-pulls = 3\n");
    let shown = user.run(&["config", "show", "--config", &path]).succeeds().stdout;
    assert!(shown.lines().any(|line| line.starts_with("max-pulls = 3 ") && line.ends_with("# file")), "{shown}");
    let again = file(&user, &shown);
    user.run(&["config", "check", &again]).succeeds();
    user.run(&["config", "show", "--config", &file(&user, "x = 1")]).fails(exit::CONFIGURATION);
}
