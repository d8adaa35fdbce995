//! The seed's table, every selection scenario, and what cells say.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::diagnose::samples::Sample;

fn nodes(names: &[&str]) -> Vec<Node> {
    names.iter().map(|name| Node::named(name).expect(name)).collect()
}

fn fleet(sample: &Sample, names: &[&str]) -> Fleet {
    Fleet::of(sample.image(), &nodes(names))
}

/// The outcomes of one client, node by node.
fn client(fleet: &Fleet, name: &str) -> Vec<Outcome> {
    let row = fleet.clients.iter().find(|row| row.client == name).expect(name);
    row.cells.iter().map(|cell| cell.outcome).collect()
}

fn reference(fleet: &Fleet) -> Vec<Outcome> {
    fleet.nodes.iter().map(|node| node.outcome).collect()
}

use Outcome::{Fails, Refused, Runs, Runs32Bit, Unknown};

const SEED_HOSTS: [&str; 6] =
    ["linux/amd64", "raspberry-pi-4", "apple-silicon", "linux/arm/v7", "raspberry-pi-zero", "raspberry-pi-4-32bit"];

#[test]
fn the_seed_after_its_repair_is_as_the_table_says() {
    // platform.md, section 5: amd64 and a bare arm, whose config still says arm64.
    let sample = Sample::index().of("amd64").holding("amd64").with(Some("arm"), "arm64").holding("arm");
    let fleet = fleet(&sample, &SEED_HOSTS);
    assert_eq!(client(&fleet, "ctr"), [Runs, Runs32Bit, Fails, Runs, Refused, Runs32Bit]);
    assert_eq!(client(&fleet, "cri"), [Runs, Refused, Refused, Runs, Refused, Refused]);
    assert_eq!(client(&fleet, "docker"), client(&fleet, "ctr"));
    assert_eq!(client(&fleet, "podman")[..4], [Runs, Refused, Refused, Runs]);
    // podman takes the bare arm on the Pi Zero, and nothing in its header says that it would not run.
    assert_ne!(client(&fleet, "podman")[4], Refused);
    assert_eq!(client(&fleet, "podman")[5], Runs32Bit);
    // lighterman takes what ctr takes, and refuses what the CPU cannot run.
    assert_eq!(reference(&fleet), [Runs, Runs32Bit, Refused, Runs, Refused, Runs32Bit]);
    assert!(fleet.nodes[2].reason.as_deref().is_some_and(|reason| reason.contains("no 32-bit mode")), "{fleet:#?}");
}

#[test]
fn the_seed_before_its_repair_is_taken_by_the_wrong_nodes() {
    let sample = Sample::index().of("amd64").holding("amd64").of("arm64").holding("arm");
    let fleet = fleet(&sample, &SEED_HOSTS);
    for name in ["ctr", "cri", "docker", "podman"] {
        assert_eq!(client(&fleet, name), [Runs, Runs32Bit, Fails, Refused, Refused, Refused], "{name}");
    }
    assert_eq!(reference(&fleet), client(&fleet, "ctr"));
    let arm = &fleet.images[1];
    assert_eq!((arm.entry.as_deref(), arm.platform.as_deref()), (Some("1"), Some("linux/arm64")));
    // A Pi 2 would run it, and is not offered it.
    let pi_2 = &arm.cells[3];
    assert_eq!((pi_2.outcome, pi_2.offered, pi_2.taken), (Runs, false, false));
    let apple = &arm.cells[2];
    assert_eq!((apple.outcome, apple.offered, apple.taken), (Fails, true, true));
    assert!(apple.reason.is_some());
}

#[test]
fn a_lone_manifest_is_taken_unchecked_by_all_but_us() {
    let fleet = fleet(&Sample::lone("amd64").holding("amd64"), &["amd64", "arm64", "386"]);
    for name in ["ctr", "cri", "docker", "podman"] {
        assert_eq!(client(&fleet, name), [Runs, Fails, Fails], "{name}");
    }
    assert_eq!(reference(&fleet), [Runs, Refused, Refused]);
    assert_eq!(fleet.images.len(), 1);
    assert_eq!(fleet.images[0].entry, None);
    let reason = fleet.nodes[1].reason.as_deref();
    assert_eq!(reason, Some("the image is for linux/amd64 alone, and the node is linux/arm64"));
    assert!(fleet.clients.iter().flat_map(|row| &row.cells).all(|cell| cell.takes.is_empty()));
}

#[test]
fn an_emulator_counts_where_containers_have_it() {
    let emulated = |flags: &str, usable_in_containers| {
        let mut node = Node::named("amd64").expect("a node");
        let execution = Execution::Emulated {
            handler: Some("qemu-aarch64".into()),
            interpreter: Some("/usr/bin/qemu-aarch64-static".into()),
            flags: flags.into(),
            usable_in_containers,
        };
        node.report.runs.push(crate::host::Runs { architecture: "arm64".into(), execution, known_by: "test".into() });
        node
    };
    let lone = Sample::lone("arm64");
    let verdicts = [("OCF", true), ("OC", false)].map(|(flags, usable)| lone.image().verdict(&emulated(flags, usable)));
    assert_eq!(verdicts[0].outcome, Outcome::RunsEmulated);
    assert_eq!(verdicts[1].outcome, Refused);
    let both = Sample::index().all(&["amd64", "arm64"]);
    let fleet = Fleet::of(both.image(), &[emulated("OCF", true), emulated("OC", false)]);
    let arm64: Vec<_> = fleet.images[1].cells.iter().map(|cell| (cell.outcome, cell.offered)).collect();
    assert_eq!(arm64, [(Outcome::RunsEmulated, false), (Fails, false)]);
}

#[test]
fn newer_cri_fetches_all_and_may_find_none() {
    let twice = fleet(&Sample::index().all(&["arm64", "arm64/v8"]), &["arm64"]);
    assert_eq!(twice.clients[1].cells[0].takes, ["0", "1"]);
    assert_eq!(twice.clients[1].cells[0].outcome, Runs);
    let nil = fleet(&Sample::index().with(None, "amd64").of("s390x"), &["arm64"]);
    let cell = &nil.clients[1].cells[0];
    assert_eq!((cell.outcome, cell.takes.as_slice()), (Refused, ["0".to_owned()].as_slice()));
    // podman takes it unchecked, and learns when it starts it.
    assert_eq!(client(&nil, "podman"), [Fails]);
}

#[test]
fn what_a_name_does_not_tell_is_unknown() {
    let fleet = fleet(&Sample::index().of("arm/v7"), &["arm64", "raspberry-pi-5", "graviton4"]);
    assert_eq!(reference(&fleet), [Unknown, Runs32Bit, Unknown]);
}

#[test]
fn a_level_that_nobody_named_is_in_no_cell() {
    let hosts = ["linux/amd64", "linux/amd64/v1", "x86-64-v3"];
    let fleet = fleet(&Sample::index().all(&["amd64", "amd64/v3"]).holding("amd64"), &hosts);
    let outcomes = |row: usize| fleet.images[row].cells.iter().map(|cell| cell.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(0), [Runs, Runs, Runs]);
    assert_eq!(fleet.images[1].platform.as_deref(), Some("linux/amd64/v3"));
    // The last one holds a program that says nothing of its own; its label is a hint.
    assert_eq!(outcomes(1), [Unknown, Unknown, Runs]);
    let unread = self::fleet(&Sample::index().all(&["amd64", "amd64/v3"]), &hosts);
    assert_eq!(unread.images[1].cells.iter().map(|cell| cell.outcome).collect::<Vec<_>>(), [Unknown, Fails, Runs]);
}

#[test]
fn every_selection_scenario_is_in_the_grid() {
    let tables: Value =
        serde_json::from_str(include_str!("../../../tests/data/platform-tables.json")).expect("the table is JSON");
    let scenarios = &tables["selection_scenarios"];
    let rows = scenarios["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 170);
    for row in rows {
        let listed = scenarios["indexes"][row["index"].as_str().expect("index")].as_array().expect("entries");
        let (sample, ids) = scenario(listed);
        let host = row["host"].as_str().and_then(|text| text.split(' ').next()).expect("host");
        let fleet = fleet(&sample, &[host]);
        let takes = |client: &str| -> Vec<&str> {
            let row = fleet.clients.iter().find(|row| row.client == client).expect(client);
            row.cells[0].takes.iter().map(|path| ids(path)).collect()
        };
        let expected = |column: &str| match &row[column] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            Value::String(text) if text == "no match" || text.starts_with("error") => Vec::new(),
            other => vec![other.as_str().expect("text")],
        };
        for (client, column) in [("ctr", "containerd_only"), ("cri", "cri_transfer_fetches"), ("podman", "podman")] {
            assert_eq!(takes(client), expected(column), "{client}: {} on {host}", row["index"]);
        }
        let ours: Vec<&str> = fleet.nodes[0].entry.iter().map(|path| ids(path)).collect();
        assert_eq!(ours, expected("containerd_only"), "lighterman: {} on {host}", row["index"]);
        for cells in &fleet.images {
            assert!(cells.cells.iter().all(|cell| cell.outcome != Refused));
        }
    }
}

/// The index of a scenario, and how the table calls what is at a path.
fn scenario<'a>(listed: &'a [Value]) -> (Sample, impl Fn(&str) -> &'a str) {
    let name = |value: &'a Value| value["platform"].as_str().map(|text| text.trim_end_matches("/unknown"));
    let mut sample = Sample::index();
    for entry in listed {
        sample = match entry["nested"].as_array() {
            Some(inner) => sample.nested(&inner.iter().filter_map(name).collect::<Vec<_>>()),
            None => sample.with(name(entry), entry["config"].as_str().expect("a config").trim_end_matches("/unknown")),
        };
    }
    let id = |path: &str| {
        let mut positions = path.split('.').map(|position| position.parse::<usize>().expect("a number"));
        let mut entry = &listed[positions.next().expect("a position")];
        for position in positions {
            entry = &entry["nested"][position];
        }
        entry["id"].as_str().expect("an id")
    };
    (sample, id)
}

#[test]
fn it_travels_as_json() {
    let fleet = fleet(&Sample::index().all(&["amd64", "arm/v7"]).attested(), &SEED_HOSTS);
    let json = serde_json::to_string(&fleet).expect("JSON");
    assert_eq!(serde_json::from_str::<Fleet>(&json).expect("read back"), fleet);
    for part in [r#""outcome":"runs-32-bit""#, r#""client":"cri""#, r#""offered":true"#, r#""takes":["0"]"#] {
        assert!(json.contains(part), "{part} in {json}");
    }
    assert_eq!(fleet.images.len(), 2, "attestations are no images");
}

fn any_platform() -> impl Strategy<Value = String> {
    "(amd64|arm64|arm|386|s390x|riscv64|x86_64|unknown)(/v[1-9])?"
}

proptest! {
    #[test]
    fn grids_are_whole_and_agree_with_themselves(
        entries in prop::collection::vec((prop::option::of(any_platform()), any_platform()), 0..6),
        host in prop::sample::select(crate::host::known::names().collect::<Vec<_>>()),
    ) {
        let sample = entries.iter().fold(Sample::index(), |sample, (declared, config)| sample.with(declared.as_deref(), config));
        let nodes = nodes(&[host, "linux/amd64"]);
        let fleet = Fleet::of(sample.image(), &nodes);
        prop_assert_eq!(fleet.nodes.len(), 2);
        for (at, node) in fleet.nodes.iter().enumerate() {
            let taken: Vec<&ImageRow> = fleet.images.iter().filter(|row| row.cells[at].taken).collect();
            prop_assert_eq!(taken.len(), usize::from(node.entry.is_some()));
            for row in taken {
                prop_assert_eq!(&row.entry, &node.entry);
                prop_assert!(row.cells[at].outcome == node.outcome || node.outcome == Refused);
                prop_assert!(row.cells[at].offered);
            }
        }
        for row in &fleet.clients {
            prop_assert_eq!(row.cells.len(), 2);
            prop_assert!(row.cells.iter().all(|cell| matches!(cell.outcome, Runs) || cell.reason.is_some() || cell.outcome == Runs32Bit));
        }
    }
}
