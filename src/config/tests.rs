use std::collections::BTreeSet;

use super::keys::{Change, Fallback, KEYS, SECTIONS};
use super::*;
use crate::core::limits::Limits;
use crate::core::mismatch::Asked;

fn mistakes(text: &str) -> Vec<Mistake> {
    match FileConfig::parse(Path::new("x"), text) {
        Err(ConfigError::Mistakes { mistakes, .. }) => mistakes,
        other => panic!("mistakes were accepted: {other:?}"),
    }
}

/// What stands outside of sections, and what it says.
fn general() -> (&'static str, FileConfig) {
    let text = r#"
        log-level = "info"
        log-format = "json"
        hosts-dir = "/etc/containerd/certs.d"
        mirrors = ["https://mirror.example"]
        plain-http = false
        skip-verify = false
        tlscacert = "/ca.pem"
        tlscert = "/cert.pem"
        tlskey = "/key.pem"
        max-concurrent-downloads = 4
        unpack = "verified"
        max-connections-per-host = 8
        max-connections = 20
        max-bandwidth = "20MB"
        max-memory = "48MiB"
    "#;
    let says = FileConfig {
        log_level: Some("info".into()),
        log_format: Some(Format::Json),
        hosts_dirs: Some(vec!["/etc/containerd/certs.d".into()]),
        mirrors: Some(vec!["https://mirror.example".into()]),
        plain_http: Some(false),
        skip_verify: Some(false),
        tlscacert: Some("/ca.pem".into()),
        tlscert: Some("/cert.pem".into()),
        tlskey: Some("/key.pem".into()),
        max_concurrent_downloads: Some(4),
        unpack: Some(Start::Verified),
        max_connections_per_host: Some(8),
        max_connections: Some(20),
        max_bandwidth: NonZeroU64::new(20_000_000),
        max_memory: Some(48 << 20),
        ..FileConfig::default()
    };
    (text, says)
}

/// Where images land.
fn containerd() -> (&'static str, FileConfig) {
    let text = r#"
        [containerd]
        address = "/run/containerd/containerd.sock"
        namespace = "k8s.io"
        snapshotter = "native"
        staging-dir = "/var/lib/lighterman/staging"
        extract-with = "diff-service"
        sync-snapshots = true
        content = "write"
    "#;
    let says = FileConfig {
        containerd_address: Some("/run/containerd/containerd.sock".into()),
        namespace: Some("k8s.io".into()),
        snapshotter: Some("native".into()),
        staging_dir: Some("/var/lib/lighterman/staging".into()),
        extract_with: Some(Extractor::DiffService),
        sync_snapshots: Some(true),
        content: Some("write".into()),
        ..FileConfig::default()
    };
    (text, says)
}

/// Who may ask the daemon for what.
fn doors() -> (&'static str, FileConfig) {
    let text = r#"
        [serve]
        listen = "/run/lighterman.sock"
        group = "porters"
        max-pulls = 3
        pull-progress-timeout = "1m30s"
        [mirror]
        listen = ["127.0.0.1:5000", "[::1]:5000"]
        upstream = "quay.io"
        allow = "registry.internal:5000"
        [cri]
        endpoint = "unix:///run/containerd/containerd.sock"
        delegate = true
        [verify]
        on-error = "refuse"
        [metrics]
        listen = "127.0.0.1:9465"
        [arch-mismatch]
        default = "refuse"
        refuse = "quay.io/prod"
        warn = []
        allow = ["docker.io/library/foo", "localhost:5000"]
        pods-may-loosen = true
    "#;
    let says = FileConfig {
        serve_listen: Some("/run/lighterman.sock".into()),
        serve_group: Some("porters".into()),
        max_pulls: Some(3),
        pull_progress_timeout: Some(Duration::from_secs(90)),
        mirror_listen: Some(vec![([127, 0, 0, 1], 5000).into(), (std::net::Ipv6Addr::LOCALHOST, 5000).into()]),
        mirror_upstream: Some("quay.io".into()),
        mirror_allow: Some(vec!["registry.internal:5000".into()]),
        cri_endpoint: Some("/run/containerd/containerd.sock".into()),
        cri_delegate: Some(true),
        verify_on_error: Some(OnError::Refuse),
        metrics_listen: Some(vec![([127, 0, 0, 1], 9465).into()]),
        mismatch_default: Some(Action::Refuse),
        mismatch_refuse: Scope::parse("quay.io/prod").ok().map(|scope| vec![scope]),
        mismatch_warn: Some(vec![]),
        mismatch_allow: ["docker.io/library/foo", "localhost:5000"]
            .iter()
            .map(|text| Scope::parse(text).ok())
            .collect(),
        mismatch_pods: Some(true),
        ..FileConfig::default()
    };
    (text, says)
}

#[test]
fn reads_every_key() {
    let all = [general(), containerd(), doors(), ("", FileConfig::default())];
    for (text, says) in &all {
        assert_eq!(FileConfig::parse(Path::new("x"), text).expect("reads"), *says, "{text}");
    }
    for key in KEYS {
        assert!(all.iter().any(|(_, says)| key.get(says).is_some()), "{} is not in this test", key.name);
    }
}

#[test]
fn reports_every_mistake_at_once_with_its_place_and_what_would_be_right() {
    let text = "log-level = \"loud\"\nmirror = 1\nplain-http = \"yes\"\nmax-concurrent-downloads = 0\n[containerd]\n\
                socket = \"x\"\n  address = 7\nextract-with = \"tar\"\n[metric]\nlisten = \"127.0.0.1:1\"\n[metrics]\n\
                listen = [\n  \"0.0.0.0:80\",\n]\n";
    let expected = [
        (1, 13, "log-level cannot be \"loud\"", "one of error, warn, info, debug, trace, as in log-level = \"info\""),
        (2, 10, "mirror is a section", "did you mean mirrors?"),
        (3, 14, "plain-http cannot be \"yes\"", "true or false"),
        (4, 28, "max-concurrent-downloads cannot be 0", "at least 1"),
        (6, 1, "there is no key containerd.socket", ""),
        (7, 13, "containerd.address cannot be 7", "full path of a socket"),
        (8, 16, "containerd.extract-with cannot be \"tar\"", "lighterman, diff-service"),
        (9, 2, "there is no section [metric]", "did you mean [metrics]?"),
        (12, 10, "metrics.listen cannot be [   \"0.0.0.0:80\", ]", "this machine alone"),
    ];
    let found = mistakes(text);
    for ((line, column, message, hint), found) in expected.iter().zip(&found) {
        assert_eq!((found.line, found.column), (*line, *column), "{found}");
        assert!(found.message.contains(message), "{found} is not about {message}");
        assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{found} does not say {hint}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_image_is_in_one_list_only_and_scopes_are_spelt_in_full() {
    let text = "arch-mismatch = \"warn\"\n";
    assert!(mistakes(text)[0].hint.as_deref().unwrap_or_default().contains("[arch-mismatch]"), "{:?}", mistakes(text));
    let text = "[arch-mismatch]\ndefault = \"deny\"\nrefuse = [\"quay.io\", \"docker.io/a\"]\nwarn = \"busybox\"\n\
                allow = [\"Docker.io:443/a\"]\n";
    let found = mistakes(text);
    let expected = [
        (2, "arch-mismatch.default cannot be \"deny\"", "refuse, warn, allow"),
        (
            4,
            "arch-mismatch.warn cannot be \"busybox\": \"busybox\" does not say at which registry; spelt in full, it is \
             docker.io/library/busybox",
            "docker.io/library/busybox",
        ),
        (5, "docker.io/a is in arch-mismatch.refuse as well as in arch-mismatch.allow", "out of one"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, message, hint), found) in expected.iter().zip(&found) {
        assert_eq!(found.line, *line, "{found}");
        assert!(found.message.contains(message) && found.hint.as_deref().unwrap_or_default().contains(hint), "{found}");
    }
}

#[test]
fn the_lists_become_one_policy() {
    let (_, says) = doors();
    let policy = says.mismatch_policy();
    let on = |reference: &str| {
        let stance = policy.stance(&reference.parse().expect("well formed"), Asked::Nobody);
        stance.on(crate::core::mismatch::Shown::Program)
    };
    assert_eq!((on("foo"), on("localhost:5000/a")), (Action::Allow, Action::Allow));
    assert_eq!((on("quay.io/prod/x"), on("quay.io/x")), (Action::Refuse, Action::Refuse));
    assert_eq!(policy.pods_may_loosen, Some(true));
    assert_eq!(FileConfig::defaults().mismatch_policy(), Policy::default());
}

#[test]
fn memory_has_to_suffice() {
    for text in ["max-memory = 1000", "max-memory = \"1GB/s\"", "max-memory = true"] {
        let found = mistakes(text);
        let hint = found[0].hint.as_deref().unwrap_or_default();
        assert!(hint.contains("from 32MiB"), "{found:?}");
    }
}

#[test]
fn what_is_not_toml_hides_no_other_mistake() {
    let found = mistakes("plain-http = yes\nlog-levl = \"info\"\nmirrors = [\"a\"\n");
    assert_eq!(found.iter().map(|mistake| mistake.line).take(2).collect::<Vec<_>>(), [1, 2], "{found:#?}");
    assert!(found[0].message.contains("not TOML"), "{found:#?}");
    assert!(found[1].to_string().contains("did you mean log-level?"), "{found:#?}");
    assert!(found.len() > 2 && found[2..].iter().all(|mistake| mistake.message.contains("not TOML")), "{found:#?}");
    let twice = mistakes("plain-http = true\nplain-http = false\n");
    assert_eq!(twice.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [2], "{twice:#?}");
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let found = mistakes("tlscert = \"/node.pem\"\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("tlskey") && found[0].hint.as_deref().unwrap_or_default().contains("node.key"));
    assert!(FileConfig::parse(Path::new("x"), "tlskey = \"/k\"\ntlscert = \"/c\"\n").is_ok());
}

#[test]
fn sections_may_be_inline_and_values_long_but_messages_not() {
    let inline = FileConfig::parse(Path::new("x"), "containerd = { namespace = \"k8s.io\" }").expect("reads");
    assert_eq!(inline.namespace.as_deref(), Some("k8s.io"));
    let found = mistakes(&format!("unpack = \"{}\"", "é".repeat(1000)));
    assert!(found[0].message.chars().count() < 100, "{}", found[0]);
}

#[test]
fn the_error_names_the_file_and_lists_all() {
    let error = FileConfig::parse(Path::new("/etc/x.toml"), "a = 1\nb = 2\n").expect_err("two mistakes");
    let text = error.to_string();
    assert!(text.starts_with("the configuration /etc/x.toml has 2 mistakes\n  line 1, column 1: "), "{text}");
    assert!(matches!(FileConfig::load(Some(Path::new("/nowhere/x.toml"))), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_table_is_sound() {
    let names: BTreeSet<String> = KEYS.iter().map(keys::Key::path).collect();
    assert_eq!(names.len(), KEYS.len(), "a key is there twice");
    let sections: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    for key in KEYS {
        assert!(key.section.is_empty() || sections.contains(&key.section), "{} has no section", key.path());
        assert!(!names.contains(key.section), "{} is a key and a section", key.section);
        let mut config = FileConfig::default();
        let example = read::value(key.example).unwrap_or_else(|| panic!("{}: {} is no value", key.path(), key.example));
        assert!(key.set(&mut config, &example), "{} does not take its own example", key.path());
        assert_eq!(KEYS.iter().filter(|other| other.get(&config).is_some()).count(), 1, "{} sets another", key.path());
        if let Fallback::Value(text) = key.default {
            let value = read::value(text).unwrap_or_else(|| panic!("{}: {text} is no value", key.path()));
            assert!(key.set(&mut config, &value), "{} does not take its own default", key.path());
        }
        if let Accepts::OneOf(choices) = key.accepts {
            let all = choices.iter().all(|choice| key.set(&mut config, &toml::Value::String((*choice).into())));
            assert!(all, "{} does not take all of {choices:?}", key.path());
        }
        let written = key.get(&config).expect("is set");
        let mut again = FileConfig::default();
        assert!(key.set(&mut again, &written) && again == config, "{} is not read as it is written", key.path());
    }
}

#[test]
fn enumerations_offer_all_that_there_is() {
    fn names<T: ValueEnum>() -> Vec<String> {
        T::value_variants().iter().filter_map(T::to_possible_value).map(|value| value.get_name().to_owned()).collect()
    }
    let cases = [
        ("unpack", names::<Start>()),
        ("extract-with", names::<Extractor>()),
        ("on-error", names::<OnError>()),
        ("log-format", names::<Format>()),
    ];
    for (name, names) in cases {
        let key = KEYS.iter().find(|key| key.name == name).expect("a key");
        assert_eq!(key.accepts.words(), format!("one of {}", names.join(", ")));
    }
    let key = keys::find("arch-mismatch", "default").expect("a key");
    assert_eq!(key.accepts.words(), format!("one of {}", Action::ALL.map(Action::name).join(", ")));
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_program() {
    let (defaults, limits) = (FileConfig::defaults(), Limits::default());
    assert_eq!(defaults.max_concurrent_downloads, Some(limits.concurrent_downloads));
    assert_eq!(defaults.max_connections_per_host, Some(limits.connections_per_host));
    assert_eq!(defaults.max_connections, Some(limits.connections));
    assert_eq!((defaults.max_bandwidth, limits.bandwidth), (None, None));
    assert_eq!(defaults.max_memory, Some(limits.buffer_bytes));
    assert_eq!((defaults.unpack, defaults.extract_with), (Some(Start::default()), Some(Extractor::default())));
    assert_eq!(defaults.verify_on_error, Some(OnError::default()));
}

fn in_readme(readme: &str) -> String {
    let (before, rest) = readme.split_once("```toml\nlog-level").expect("the README has the block");
    let (_, after) = rest.split_once("```").expect("the block ends");
    format!("{before}```toml\n{}```{after}", short())
}

/// Fails unless a file is what is made of it; with `LIGHTERMAN_WRITE=1`, writes it so.
fn hold(name: &str, made: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = made(&found);
    if std::env::var_os("LIGHTERMAN_WRITE").is_some() {
        std::fs::write(&path, &expected).expect("a writable source folder");
    } else {
        assert!(found == expected, "write {name} anew: LIGHTERMAN_WRITE=1 cargo test --lib config::");
    }
}

#[test]
fn readme_and_packaged_file_are_what_the_table_says() {
    hold("README.md", in_readme);
    hold("packaging/config.toml", |_| commented());
}

#[test]
fn the_examples_are_good_configurations() {
    let as_it_is = FileConfig::parse(Path::new("x"), &commented()).expect("reads");
    assert_eq!(as_it_is, FileConfig::default(), "nothing is set in the packaged file");
    let uncommented: Vec<String> = commented()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned())
        .collect();
    for text in [uncommented.join("\n"), short()] {
        let config = FileConfig::parse(Path::new("x"), &text).expect("reads");
        assert!(KEYS.iter().all(|key| key.get(&config).is_some()), "a key is missing in\n{text}");
    }
}

#[test]
fn what_holds_is_shown_with_its_origin_and_reads_back() {
    let file = FileConfig { namespace: Some("k8s.io".into()), max_pulls: Some(2), ..FileConfig::default() };
    let outside = |key: &keys::Key| match key.path().as_str() {
        "log-level" => Some((Origin::Flag("--log-level"), "debug".to_owned())),
        "containerd.namespace" => Some((Origin::Environment("CONTAINERD_NAMESPACE"), "moby".to_owned())),
        _ => None,
    };
    let all = effective(&file, outside);
    assert_eq!(all.len(), KEYS.len());
    let of = |path: &str| all.iter().find(|one| one.key.path() == path).expect("a key").json();
    assert_eq!(of("log-level")["value"], "debug");
    assert_eq!(of("log-level")["from"], "flag --log-level");
    assert_eq!(of("containerd.namespace")["from"], "environment CONTAINERD_NAMESPACE");
    assert_eq!((&of("serve.max-pulls")["from"], &of("serve.max-pulls")["value"]), (&"file".into(), &2.into()));
    assert_eq!(of("max-connections")["from"], "default");
    assert_eq!((&of("max-bandwidth")["value"], &of("max-bandwidth")["default"]), (&().into(), &"no limit".into()));
    let again = FileConfig::parse(Path::new("x"), &shown(&all)).expect("what is shown is a configuration");
    assert_eq!(again.max_pulls, Some(2));
    assert_eq!(again.log_level.as_deref(), Some("debug"));
}

#[test]
fn a_reload_takes_up_what_it_can_and_names_the_rest() {
    let old = FileConfig { max_pulls: Some(2), plain_http: Some(true), ..FileConfig::default() };
    let new = FileConfig { max_pulls: Some(3), log_level: Some("info".into()), ..FileConfig::default() };
    let found = changes(&old, &new);
    let names = |keys: &[&'static keys::Key]| keys.iter().map(|key| key.path()).collect::<Vec<_>>();
    assert_eq!(names(&found.now), ["log-level", "plain-http"]);
    assert_eq!(names(&found.restart), ["serve.max-pulls"]);
    let applied = found.apply(&old, &new);
    assert_eq!(applied, FileConfig { max_pulls: Some(2), log_level: Some("info".into()), ..FileConfig::default() });
    let none = changes(&new, &new);
    assert!(none.now.is_empty() && none.restart.is_empty());
    assert!(KEYS.iter().any(|key| key.change == Change::Now));
}
