//! Every row of platform-tables.json, and parsing and printing.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn tables() -> Value {
    serde_json::from_str(include_str!("../../../tests/data/platform-tables.json")).expect("the table is JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[test]
fn every_row_of_normalize_arch_holds() {
    let tables = tables();
    let cases = tables["normalize_arch"]["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 79);
    for case in cases {
        let normal = Platform::linux(text(&case["in"][0]), text(&case["in"][1])).normalized();
        assert_eq!(
            (normal.architecture.as_str(), normal.variant.as_str()),
            (text(&case["out"][0]), text(&case["out"][1])),
            "{case}"
        );
    }
}

#[test]
fn every_vector_of_only_holds() {
    let tables = tables();
    let cases = tables["only_vector"]["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 30);
    let local = Platform::linux("amd64", "");
    for case in cases {
        let host = Platform::parse(text(&case["host"]), &local).expect("host parses");
        let slots: Vec<String> = Matcher::only(&host).slots().iter().map(Platform::arch).collect();
        let expected: Vec<&str> = case["vector"].as_array().expect("vector").iter().map(text).collect();
        assert_eq!(slots, expected, "{case}");
    }
}

#[test]
fn parses_as_containerd_does() {
    let local = Platform::linux("amd64", "");
    let cases = [
        ("linux", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("ARM64", "linux/arm64"),
        ("linux/arm", "linux/arm"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/aarch64", "linux/arm64"),
        ("armhf", "linux/arm"),
        ("armel", "linux/arm/v6"),
        ("linux/x86_64/v3", "linux/amd64/v3"),
        ("linux/amd64/v1", "linux/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
        ("linux(+b+a+a)/amd64", "linux(+a+b)/amd64"),
        // Names of uname and of distributions, which containerd leaves unknown.
        ("armv7l", "linux/arm/v7"),
        ("linux/armv6l", "linux/arm/v6"),
        ("i686", "linux/386"),
        ("ppc64el", "linux/ppc64le"),
        ("loongarch64", "linux/loong64"),
    ];
    for (specifier, expected) in cases {
        let platform = Platform::parse(specifier, &local).expect(specifier);
        let expected = expected.replace("armhf", "arm");
        assert_eq!(
            platform.normalized(),
            Platform::parse(&expected, &local).expect("expected").normalized(),
            "{specifier}"
        );
    }
    assert_eq!(Platform::parse("linux/arm", &local).expect("parses").variant, "");
    assert_eq!(Platform::parse("linux/arm64", &local).expect("parses").variant, "");
    assert_eq!(Platform::parse("linux", &Platform::linux("arm", "v6")).expect("parses").to_string(), "linux/arm/v6");
    assert_eq!(
        Platform::parse("windows(10.0.17763+win32k)/amd64", &local).expect("parses").to_string(),
        "windows(10.0.17763+win32k)/amd64"
    );
}

#[test]
fn refuses_what_is_no_platform() {
    let local = Platform::linux("amd64", "");
    for specifier in [
        "",
        "*",
        "linux/*",
        "linux/",
        "/amd64",
        "linux/amd64/v3/x",
        "vax",
        "linux(/amd64",
        "li nux/amd64",
        "linux(+)/amd64",
    ] {
        assert!(Platform::parse(specifier, &local).is_err(), "{specifier:?} was accepted");
    }
}

#[test]
fn features_have_to_be_a_subset_and_more_of_them_rank_higher() {
    let with = |features: &[&str]| Platform {
        os_features: features.iter().map(|text| (*text).to_owned()).collect(),
        ..Platform::linux("amd64", "")
    };
    let matcher = Matcher::only(&with(&["b", "a"]));
    assert_eq!(matcher.slot(&with(&["a"])), Some(0));
    assert_eq!(matcher.slot(&with(&["c"])), None);
    assert!(matcher.rank(&with(&["a", "b"])) < matcher.rank(&with(&["a"])));
    assert_eq!(Matcher::only(&Platform::linux("amd64", "")).slot(&with(&["a"])), None);
}

#[test]
fn reads_platforms_as_documents_write_them() {
    let platform: Platform =
        serde_json::from_str(r#"{"architecture":"arm","os":"linux","variant":null,"os.features":null}"#)
            .expect("reads");
    assert_eq!(platform, Platform::linux("arm", ""));
    assert_eq!(platform.normalized().to_string(), "linux/arm/v7");
    let unknown: Platform = serde_json::from_str(r#"{"architecture":"unknown","os":"unknown"}"#).expect("reads");
    assert!(unknown.is_unknown());
}

#[test]
fn an_absurd_variant_costs_nothing() {
    for variant in ["v4000000000", "v99999999999999999999", "v-1"] {
        assert!(Matcher::only(&Platform::linux("amd64", variant)).slots().len() <= 2);
        assert_eq!(Matcher::only(&Platform::linux("arm", variant)).slots().len(), 1);
    }
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(architecture in "[a-zA-Z0-9_.-]{0,10}", variant in "[a-zA-Z0-9_.-]{0,6}") {
        let once = Platform::linux(&architecture, &variant).normalized();
        prop_assert_eq!(once.normalized(), once);
    }

    #[test]
    fn parsing_never_panics_and_prints_something_that_parses(text in "\\PC{0,40}") {
        let local = Platform::linux("amd64", "");
        if let Ok(platform) = Platform::parse(&text, &local) {
            prop_assert!(Platform::parse(&platform.to_string(), &local).is_ok(), "{platform}");
        }
    }

    #[test]
    fn matching_never_panics(architecture in "(amd64|arm|arm64|386|[a-z0-9]{0,5})", variant in "\\PC{0,8}") {
        let host = Platform::linux(&architecture, &variant);
        let matcher = Matcher::only(&host);
        prop_assert!(matcher.slots().len() <= 80);
        prop_assert_eq!(Matcher::strict(&host).slot(&host), Some(0));
    }
}
