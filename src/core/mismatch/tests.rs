//! Who has the last word about which image.

use proptest::prelude::*;

use super::*;

const SHOWN: [Shown; 3] = [Shown::Claims, Shown::Request, Shown::Program];

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn reference(text: &str) -> Reference {
    text.parse().expect("well formed")
}

/// What is done with claims, requests and programs.
fn actions(stance: Stance) -> [Action; 3] {
    SHOWN.map(|shown| stance.on(shown))
}

#[test]
fn names_lead_back_and_grow_stricter() {
    for action in Action::ALL {
        assert_eq!(Action::from_name(action.name()), Some(action));
    }
    for other in ["", "Refuse", "deny", " warn"] {
        assert_eq!(Action::from_name(other), None, "{other:?}");
    }
    assert!(Action::Allow < Action::Warn && Action::Warn < Action::Refuse);
}

#[test]
fn scopes_are_spelt_in_full() {
    for text in ["docker.io", "docker.io/library", "docker.io/library/busybox", "localhost", "r.example:5000/a/b/c"] {
        assert_eq!(scope(text).to_string(), text);
    }
    let digest = format!("quay.io/app@{}", super::super::digest::Digest::of(b"x"));
    let others = [
        ("", "is empty"),
        ("/", "\"/\" is not a valid repository"),
        ("busybox", "at which registry; spelt in full, it is docker.io/library/busybox"),
        ("library/busybox", "it is docker.io/library/busybox"),
        ("docker.io/", "\"\" is not a valid repository in \"docker.io/\""),
        ("docker.io//library", "\"/library\" is not a valid repository"),
        ("docker.io/library/", "\"library/\" is not a valid repository"),
        ("https://docker.io", "\"https://docker.io\" has a scheme"),
        ("https://quay.io:8443", "has a scheme"),
        ("docker.io/library/busybox:1", "has a tag"),
        (&digest, "has a tag or a digest"),
        ("docker.io/library/Busybox", "upper-case letters"),
        ("*.example.org", "\"*.example.org\" is not a valid"),
        ("quay.io:0", "is not a valid registry"),
        ("quay.io:65536/prod", "\"quay.io:65536\" is not a valid registry in \"quay.io:65536/prod\""),
        ("a b.example", "is not a valid"),
    ];
    for (text, why) in others {
        let error = Scope::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn registries_are_hosts_however_they_are_spelt() {
    let rows: [(&str, &str, &[&str], &[&str]); 6] = [
        (
            "Quay.IO/prod",
            "quay.io/prod",
            &["quay.io/prod/app", "QUAY.io/prod/app:1", "quay.io:443/prod/app"],
            &["quay.io:8443/prod/app", "quay.io/production/app", "quay.io.example/prod/app"],
        ),
        ("quay.io:443", "quay.io", &["quay.io/a", "Quay.io:443/a"], &["quay.io:80/a", "quay.io:4430/a"]),
        ("REGISTRY.example:5000", "registry.example:5000", &["registry.example:5000/a"], &["registry.example/a"]),
        (
            "index.docker.io/library",
            "docker.io/library",
            &["busybox", "Docker.IO/busybox", "registry-1.docker.io/library/busybox"],
            &["someone/busybox", "quay.io/library/busybox"],
        ),
        ("Registry", "registry:443", &["Registry/app", "registry:443/app"], &["docker.io/registry/app"]),
        ("[FE80::1]:443/a", "[fe80::1]/a", &["[fe80::1]/a", "[Fe80::1]:443/a/b"], &["[fe80::1]:5000/a"]),
    ];
    for (text, told, covered, others) in rows {
        assert_eq!(scope(text).to_string(), told);
        assert_eq!(scope(told), scope(text), "reading it again");
        let policy = Policy { rules: vec![(scope(text), Action::Refuse)], ..Policy::default() };
        let is_covered = |image: &&str| policy.stance(&reference(image), Asked::Nobody) == Action::Refuse.into();
        assert_eq!(covered.iter().find(|image| !is_covered(image)), None, "{text}");
        assert_eq!(others.iter().find(|image| is_covered(image)), None, "{text}");
    }
}

#[test]
fn the_most_specific_rule_counts() {
    use Action::{Allow, Refuse, Warn};
    let rules = [
        ("docker.io", Warn),
        ("docker.io/library", Refuse),
        ("docker.io/library/foo", Allow),
        ("registry.example:5000", Allow),
    ];
    let policy = Policy {
        default: Some(Refuse),
        rules: rules.iter().map(|(text, action)| (scope(text), *action)).collect(),
        pods_may_loosen: None,
    };
    let cases = [
        ("foo", Allow),
        ("foo:1", Allow),
        ("docker.io/library/foobar", Refuse),
        ("docker.io/library/foo/bar", Allow),
        ("busybox", Refuse),
        ("docker.io/someone/foo", Warn),
        ("registry.example:5000/a", Allow),
        ("registry.example/a", Refuse),
        ("quay.io/a", Refuse),
    ];
    let backwards = Policy { rules: policy.rules.iter().rev().cloned().collect(), ..policy.clone() };
    for (text, action) in cases {
        for policy in [&policy, &backwards] {
            assert_eq!(policy.stance(&reference(text), Asked::Nobody), action.into(), "{text}");
        }
    }
}

#[test]
fn who_may_say_what() {
    use Action::{Allow, Refuse, Warn};
    let usual = [Refuse, Warn, Warn];
    let cases = [
        // What the configuration says, whether pods may loosen it, who asks, and what comes of it.
        (None, None, Asked::Nobody, usual),
        (None, None, Asked::User(Allow), [Allow; 3]),
        (None, None, Asked::Pod(Refuse), [Refuse; 3]),
        (None, None, Asked::Pod(Warn), [Warn; 3]),
        (None, None, Asked::Pod(Allow), [Allow; 3]),
        (None, Some(false), Asked::Pod(Allow), usual),
        (None, Some(false), Asked::Pod(Warn), usual),
        (None, Some(false), Asked::Pod(Refuse), [Refuse; 3]),
        (Some(Refuse), None, Asked::Nobody, [Refuse; 3]),
        (Some(Refuse), None, Asked::Pod(Allow), [Refuse; 3]),
        (Some(Refuse), Some(true), Asked::Pod(Allow), [Allow; 3]),
        (Some(Refuse), Some(false), Asked::User(Allow), [Allow; 3]),
        (Some(Warn), None, Asked::Pod(Allow), [Warn; 3]),
        (Some(Warn), None, Asked::Pod(Refuse), [Refuse; 3]),
        (Some(Allow), None, Asked::Pod(Warn), [Warn; 3]),
        (Some(Allow), None, Asked::Nobody, [Allow; 3]),
    ];
    for (default, pods_may_loosen, asked, expected) in cases {
        let policy = Policy { default, pods_may_loosen, rules: Vec::new() };
        let stance = policy.stance(&reference("app"), asked);
        assert_eq!(actions(stance), expected, "{default:?} {pods_may_loosen:?} {asked:?}");
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(Action::ALL.to_vec())
}

proptest! {
    #[test]
    fn a_pod_never_loosens_what_the_configuration_binds(
        default in prop::option::of(any_action()),
        pod in any_action(),
        may in prop::option::of(any::<bool>()),
    ) {
        let policy = Policy { default, pods_may_loosen: may, rules: Vec::new() };
        let (own, with) = (policy.stance(&reference("app"), Asked::Nobody), policy.stance(&reference("app"), Asked::Pod(pod)));
        if may == Some(false) || (default.is_some() && may != Some(true)) {
            for (own, with) in actions(own).into_iter().zip(actions(with)) {
                prop_assert_eq!(with, own.max(pod));
            }
        } else {
            prop_assert_eq!(with, Stance::from(pod));
        }
    }
}
