//! Every selection scenario of platform-tables.json, and the reasons that are given.

use std::sync::LazyLock;

use super::super::descriptor::MediaType;
use super::super::digest::Digest;
use super::super::predict::{Client, HostView, Outcome, predict};
use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

fn tables() -> Value {
    serde_json::from_str(include_str!("../../../tests/data/platform-tables.json")).expect("the table is JSON")
}

/// `arm64`, `arm/v8 (remark)`, `unknown/unknown` as the table writes platforms.
fn platform(text: &str) -> Platform {
    let text = text.split(' ').next().expect("not empty");
    if text == "unknown/unknown" {
        return Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() };
    }
    let (architecture, variant) = text.split_once('/').unwrap_or((text, ""));
    Platform::linux(architecture, variant)
}

fn descriptor(id: &str, media_type: MediaType, declared: Option<Platform>) -> Descriptor {
    Descriptor { platform: declared, ..Descriptor::new(media_type, Digest::of(id.as_bytes()), 1) }
}

fn entry(json: &Value) -> Entry {
    let id = json["id"].as_str().expect("id");
    let declared = json["platform"].as_str().map(platform);
    if let Some(nested) = json["nested"].as_array() {
        let inner = Inner::Nested(nested.iter().map(entry).collect());
        return Entry { descriptor: descriptor(id, MediaType::OciIndex, declared), inner };
    }
    let inner = json["config"].as_str().map_or(Inner::Unread, |config| Inner::Config(platform(config)));
    Entry { descriptor: descriptor(id, MediaType::OciManifest, declared), inner }
}

fn id_at(entries: &[Entry], path: &[usize], ids: &[String]) -> String {
    let digest = &at(entries, path).expect("path").descriptor.digest;
    ids.iter().find(|id| Digest::of(id.as_bytes()) == *digest).expect("known id").clone()
}

fn ids(json: &Value) -> Vec<String> {
    let own = |entry: &Value| {
        let nested = entry["nested"].as_array().map(|nested| ids(&Value::Array(nested.clone()))).unwrap_or_default();
        std::iter::once(entry["id"].as_str().expect("id").to_owned()).chain(nested).collect::<Vec<_>>()
    };
    json.as_array().expect("entries").iter().flat_map(own).collect()
}

#[test]
fn every_selection_scenario_holds() {
    let tables = tables();
    let scenarios = &tables["selection_scenarios"];
    let rows = scenarios["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 170);
    for row in rows {
        let json = &scenarios["indexes"][row["index"].as_str().expect("index")];
        let entries: Vec<Entry> = json.as_array().expect("entries").iter().map(entry).collect();
        let ids = ids(json);
        let host = platform(row["host"].as_str().expect("host"));
        let view = HostView { containerd: host.clone(), isa: host.clone() };
        let names = |outcome: Outcome| match outcome {
            Outcome::Takes(paths) => paths.iter().map(|path| id_at(&entries, path, &ids)).collect(),
            Outcome::NoMatch | Outcome::TakesUnchecked => Vec::new(),
            Outcome::Fails(_) => vec!["error: nested index".into()],
        };
        let expect = |value: &Value| match value {
            Value::Array(list) => list.iter().map(|id| id.as_str().expect("id").to_owned()).collect(),
            Value::String(text) if text == "no match" => Vec::new(),
            other => vec![other.as_str().expect("text").to_owned()],
        };
        let context = format!("{} on {host}", row["index"]);
        assert_eq!(
            names(predict(Client::Ctr, &MediaType::OciIndex, &entries, &view)),
            expect(&row["containerd_only"]),
            "ctr: {context}"
        );
        assert_eq!(
            names(predict(Client::Cri, &MediaType::OciIndex, &entries, &view)),
            expect(&row["cri_transfer_fetches"]),
            "cri: {context}"
        );
        assert_eq!(
            names(predict(Client::Podman, &MediaType::OciIndex, &entries, &view)),
            expect(&row["podman"]),
            "podman: {context}"
        );
        let ours: Vec<String> = choose(&entries, &Matcher::only(&host), Eligible::Images)
            .iter()
            .map(|path| id_at(&entries, path, &ids))
            .collect();
        assert_eq!(ours, expect(&row["containerd_only"]), "ours: {context}");
    }
}

fn image(id: &str, declared: &str) -> Entry {
    Entry::unread(descriptor(id, MediaType::OciManifest, Some(platform(declared))))
}

#[test]
fn every_entry_gets_its_reason() {
    let mut signature = image("signature", "amd64");
    signature.descriptor.media_type = MediaType::Other("application/vnd.example".into());
    let mut windows = image("windows", "amd64");
    windows.descriptor.platform.as_mut().expect("platform").os = "windows".into();
    let entries = vec![
        image("v3", "amd64/v3"),
        image("i386", "386"),
        image("native", "x86_64"),
        image("again", "amd64/v1"),
        image("arm64", "arm64"),
        image("odd", "amd64/three"),
        windows,
        image("attestation", "unknown/unknown"),
        signature,
        Entry { descriptor: descriptor("nil", MediaType::OciManifest, None), inner: Inner::Config(platform("amd64")) },
    ];
    let matcher = Matcher::only(&platform("amd64"));
    let chosen = choose(&entries, &matcher, Eligible::Images);
    assert_eq!(chosen, Some(vec![2]));
    let verdicts: Vec<Verdict> =
        explain(&entries, &matcher, chosen.as_deref()).into_iter().map(|row| row.verdict).collect();
    let expected = [
        Verdict::VariantTooHigh,
        Verdict::LowerRank { slot: 2 },
        Verdict::Chosen { slot: 1 },
        Verdict::Duplicate,
        Verdict::OtherArchitecture,
        Verdict::UnknownVariant,
        Verdict::OtherOs,
        Verdict::Attestation,
        Verdict::UnknownMediaType,
        Verdict::NotTried,
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn unknown_types_are_passed_over_where_containerd_would_trip() {
    let mut artifact = image("artifact", "amd64");
    artifact.descriptor.media_type = MediaType::Other("application/vnd.example".into());
    let entries = vec![artifact, image("native", "amd64")];
    let host = platform("amd64");
    assert_eq!(choose(&entries, &Matcher::only(&host), Eligible::Images), Some(vec![1]));
    let view = HostView { containerd: host.clone(), isa: host };
    assert_eq!(predict(Client::Ctr, &MediaType::OciIndex, &entries, &view), Outcome::NoMatch);
}

#[test]
fn docker_takes_the_level_of_the_cpu() {
    let entries = vec![image("v1", "amd64"), image("v3", "amd64/v3")];
    let view = HostView { containerd: platform("amd64"), isa: platform("amd64/v3") };
    assert_eq!(predict(Client::Docker, &MediaType::OciIndex, &entries, &view), Outcome::Takes(vec![vec![1]]));
    assert_eq!(predict(Client::Ctr, &MediaType::OciIndex, &entries, &view), Outcome::Takes(vec![vec![0]]));
}

#[test]
fn podman_takes_entries_without_platform_from_oci_indexes_alone() {
    let nil =
        Entry { descriptor: descriptor("nil", MediaType::OciManifest, None), inner: Inner::Config(platform("amd64")) };
    let view = HostView { containerd: platform("amd64"), isa: platform("amd64") };
    let outcome = |kind| predict(Client::Podman, &kind, std::slice::from_ref(&nil), &view);
    assert_eq!(outcome(MediaType::OciIndex), Outcome::Takes(vec![vec![0]]));
    assert_eq!(outcome(MediaType::DockerManifestList), Outcome::NoMatch);
}

/// The rows of a table: hosts and their orders, spellings and what they mean.
static HOSTS: LazyLock<Vec<Value>> = LazyLock::new(|| cases("only_vector"));
static SPELLINGS: LazyLock<Vec<Value>> = LazyLock::new(|| cases("normalize_arch"));

fn cases(table: &str) -> Vec<Value> {
    tables()[table]["cases"].as_array().expect("cases").clone()
}

/// Which of some spellings the tables put first on a host, and of equal ones the first.
fn first_by_the_tables(host: &Value, spelt: &[&Value]) -> Option<usize> {
    let order: Vec<&str> = host["vector"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let rank = |case: &Value| {
        let [architecture, variant] = pair(&case["out"]);
        let separator = if variant.is_empty() { "" } else { "/" };
        let meant = format!("{architecture}{separator}{variant}");
        order.iter().position(|platform| *platform == meant)
    };
    let ranks = spelt.iter().enumerate().filter_map(|(at, case)| Some((rank(case)?, at)));
    ranks.min().map(|(_, at)| at)
}

fn pair(json: &Value) -> [&str; 2] {
    [0, 1].map(|at| json[at].as_str().expect("text"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn of_any_entries_the_one_is_chosen_that_the_tables_put_first(
        host in any::<Index>(), spelt in proptest::collection::vec(any::<Index>(), 0..12),
    ) {
        let host = host.get(&HOSTS);
        let spelt: Vec<&Value> = spelt.iter().map(|index| index.get(&SPELLINGS)).collect();
        let entries = spelt.iter().enumerate().map(|(at, case)| {
            let [architecture, variant] = pair(&case["in"]);
            let declared = Some(Platform::linux(architecture, variant));
            Entry::unread(descriptor(&at.to_string(), MediaType::OciManifest, declared))
        });
        let name = host["host"].as_str().and_then(|name| name.strip_prefix("linux/")).expect("a host");
        let matcher = Matcher::only(&platform(name));
        let chosen = choose(&entries.collect::<Vec<_>>(), &matcher, Eligible::Images);
        prop_assert_eq!(chosen, first_by_the_tables(host, &spelt).map(|at| vec![at]), "{} of {:?}", name, spelt);
    }
}
