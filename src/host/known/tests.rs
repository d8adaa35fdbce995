//! Names of nodes: what each stands for, and whether the table agrees with machines.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::core::error::Classify;
use crate::host::{Binfmt, Depth, Execution, Recorded, boards, detect, kind};

fn report(name: &str) -> HostReport {
    Node::named(name).expect(name).report
}

fn of(report: &HostReport, platform: &str) -> &'static str {
    kind(&report.execution_of(&Platform::parse(platform, &Platform::linux("amd64", "")).expect(platform)))
}

/// Machines that were written down, and the name of each in the table.
fn recorded() -> Vec<(&'static str, Recorded)> {
    vec![
        ("raspberry-pi-zero", boards::pi_zero()),
        ("raspberry-pi-2", boards::pi_2()),
        ("raspberry-pi-4", boards::pi_4()),
        ("raspberry-pi-4-32bit", boards::pi_4_armhf()),
        ("graviton2", boards::graviton2()),
        ("graviton3", boards::graviton3()),
        ("graviton4", boards::graviton4()),
        ("apple-silicon", boards::apple_m1()),
        ("power9", boards::power9()),
        ("z14", boards::z14()),
        ("visionfive2", boards::visionfive2()),
        ("spacemit-k1", boards::spacemit_k1()),
    ]
}

#[test]
fn the_table_agrees_with_machines() {
    for (name, board) in recorded() {
        let (told, seen) = (report(name), detect(&board, Depth::Full));
        assert_eq!(told.kernel.platform, seen.kernel.platform, "kernel of {name}");
        assert_eq!(told.kernel.machine, seen.kernel.machine, "uname of {name}");
        assert_eq!(told.matching_platform(), seen.matching_platform(), "matching on {name}");
        assert_eq!(told.isa_platform(), seen.isa_platform(), "CPU of {name}");
        assert_eq!(told.isa.level, seen.isa.level, "level of {name}");
        assert_eq!(told.page_size, seen.page_size, "pages of {name}");
        let (told_features, seen_features): (BTreeSet<_>, BTreeSet<_>) =
            (told.isa.features.iter().collect(), seen.isa.features.iter().collect());
        if MACHINES.iter().any(|machine| machine.names.contains(&name) && !machine.features.is_empty()) {
            assert_eq!(told_features, seen_features, "features of {name}");
        } else {
            assert!(told_features.is_subset(&seen_features), "features of {name}");
        }
        for runs in &told.runs {
            let seen = seen.runs.iter().find(|seen| seen.architecture == runs.architecture).expect(name);
            // Of the recorded ones, some were never tried with 32-bit programs.
            if !matches!(runs.execution, Execution::Unknown { .. }) {
                assert_eq!(kind(&runs.execution), kind(&seen.execution), "{} on {name}", runs.architecture);
            }
        }
    }
}

/// A node, and images that run there, do not, and may.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

#[test]
fn levels_are_held_against_images() {
    let rows: &[Row] = &[
        ("raspberry-pi-zero", &["arm/v5", "arm/v6"], &["arm/v7", "arm64", "amd64"], &[]),
        ("beaglebone", &["arm/v6", "arm/v7"], &["arm/v8", "arm64"], &[]),
        ("raspberry-pi-5", &["arm64", "arm64/v8.2", "arm/v7", "arm/v5"], &["arm64/v8.3", "amd64"], &[]),
        ("apple-silicon", &["arm64/v8.5"], &["arm/v7", "arm64/v9"], &[]),
        ("raspberry-pi-4-32bit", &["arm/v7", "arm/v8", "arm64"], &["amd64"], &[]),
        ("linux/arm/v8", &["arm/v7", "arm/v8", "arm64"], &["amd64"], &["arm64/v8.1"]),
        ("linux/arm64", &["arm64"], &["amd64"], &["arm64/v8.1", "arm64/v9", "arm/v7"]),
        ("linux/arm64/v8", &["arm64"], &["amd64"], &["arm64/v8.1", "arm/v7"]),
        ("linux/arm64/v8.0", &["arm64"], &["arm64/v8.1", "amd64"], &["arm/v7"]),
        ("arm64/v9", &["arm64/v8.5", "arm64/v9"], &["arm64/v9.1"], &["arm/v5"]),
        ("graviton4", &["arm64/v9"], &["arm64/v9.1"], &["arm/v7"]),
        ("linux/arm/v6", &["arm/v5", "arm/v6"], &["arm/v7"], &[]),
        ("arm", &["arm/v7"], &["arm/v8"], &[]),
        ("amd64", &["amd64", "386"], &["arm64"], &["amd64/v2", "amd64/v4"]),
        ("amd64/v1", &["amd64", "386"], &["amd64/v2", "arm64"], &[]),
        ("x86-64-v1", &["amd64"], &["amd64/v2"], &[]),
        ("amd64/v3", &["amd64/v3", "386"], &["amd64/v4"], &[]),
        ("x86-64-v3", &["amd64/v2"], &["amd64/v4"], &[]),
        ("ppc64le", &["ppc64le", "ppc64le/power8"], &["amd64"], &["ppc64le/power9"]),
        ("ppc64le/power8", &["ppc64le"], &["ppc64le/power9"], &[]),
        ("power9", &["ppc64le", "ppc64le/power9"], &["ppc64le/power10"], &[]),
        ("z15", &["s390x", "s390x/z15"], &["s390x/z16"], &[]),
        ("s390x/z14", &["s390x"], &["s390x/z15"], &[]),
        ("s390x", &["s390x"], &["amd64"], &["s390x/z14"]),
        ("riscv64", &["riscv64", "riscv64/rva20u64"], &["amd64"], &["riscv64/rva22u64"]),
        ("linux/riscv64/rva20u64", &["riscv64"], &["riscv64/rva22u64"], &[]),
        ("spacemit-k1", &["riscv64/rva22u64"], &["riscv64/rva23u64"], &[]),
        ("loongson-3a5000", &["loong64"], &["mips64le"], &[]),
    ];
    for (node, run, do_not, unknown) in rows {
        let report = report(node);
        let is_run = |platform: &&str| matches!(of(&report, &format!("linux/{platform}")), "native" | "compat");
        for platform in *run {
            assert!(is_run(platform), "{platform} on {node}: {}", of(&report, &format!("linux/{platform}")));
        }
        for platform in *do_not {
            assert_eq!(of(&report, &format!("linux/{platform}")), "no", "{platform} on {node}");
        }
        for platform in *unknown {
            assert_eq!(of(&report, &format!("linux/{platform}")), "unknown", "{platform} on {node}");
        }
    }
}

#[test]
fn every_host_of_the_selection_scenarios_is_a_node() {
    let tables: Value =
        serde_json::from_str(include_str!("../../../tests/data/platform-tables.json")).expect("the table is JSON");
    let rows = tables["selection_scenarios"]["rows"].as_array().expect("rows");
    let hosts: BTreeSet<&str> = rows.iter().map(|row| row["host"].as_str().expect("a host")).collect();
    assert_eq!(hosts.len(), 10);
    for host in hosts {
        let host = host.split(' ').next().expect("a platform");
        let matching = report(host).matching_platform();
        assert_eq!(
            matching.arch(),
            Platform::parse(&format!("linux/{host}"), &matching).expect(host).normalized().arch()
        );
    }
    for case in tables["only_vector"]["cases"].as_array().expect("cases") {
        let host = case["host"].as_str().expect("a host");
        match Node::named(host) {
            // A level is what the CPU has; containerd matches with it on arm alone.
            Ok(node) => assert!(host.starts_with(&node.report.kernel.platform.os), "{host}"),
            Err(KnownError::Platform { .. }) => {
                assert!(
                    ["linux/arm64/v8.10", "linux/arm64/v9.8", "linux/arm64/v10", "linux/arm/v4", "linux/arm/unknown"]
                        .contains(&host),
                    "{host}"
                );
            }
            Err(error) => panic!("{host}: {error}"),
        }
    }
}

#[test]
fn reports_survive_json() {
    let specs = ["linux/arm/v5", "arm/v8", "arm64/v8.9", "arm64/v9.7", "386", "mips64le", "ppc64", "riscv64/rva23u64"];
    for name in names().chain(specs) {
        let node = Node::named(name).expect(name);
        let json = serde_json::to_vec(&node.report).expect("JSON");
        assert_eq!(file::parse(&json), Ok(node.report.clone()), "{name}");
        assert_eq!(node.report.binfmt, Binfmt::Enabled);
        assert!(node.report.page_size.is_none_or(u64::is_power_of_two));
        let tells = !node.report.isa.features.is_empty();
        assert!(tells || specs.contains(&name) || ["loongson-3a5000", "i686"].contains(&name), "{name}");
    }
}

#[test]
fn what_a_platform_does_not_name_is_not_known() {
    let rows = [
        ("linux/amd64", None, Some(4096)),
        ("amd64/v1", Some("v1"), Some(4096)),
        ("amd64/v3", Some("v3"), Some(4096)),
        ("linux/arm64", None, None),
        ("arm64/v8", None, None),
        ("aarch64/v8.0", Some("v8.0"), None),
        ("arm64/v8.2", Some("v8.2"), None),
        ("arm64/v9", Some("v9.0"), None),
        ("arm/v8", None, None),
        ("arm", Some("v7"), Some(4096)),
        ("linux/arm/v6", Some("v6"), Some(4096)),
        ("ppc64le", None, None),
        ("ppc64le/power9", Some("power9"), None),
        ("riscv64", None, Some(4096)),
        ("s390x", None, Some(4096)),
        ("s390x/z14", Some("z14"), Some(4096)),
        ("386", None, Some(4096)),
        ("loong64", None, None),
        ("mips64le", None, None),
        ("power9", Some("power9"), Some(65536)),
        ("graviton4", Some("v9.0"), Some(4096)),
        ("raspberry-pi-5", Some("v8.2"), Some(16384)),
    ];
    for (name, level, pages) in rows {
        let report = report(name);
        assert_eq!((report.isa.level.as_deref(), report.page_size), (level, pages), "{name}");
        assert!(report.is_assumed());
        let about = |what: &str| report.evidence.iter().any(|evidence| evidence.about == what);
        assert_eq!((about("ISA level"), about("page size")), (level.is_some(), pages.is_some()), "{name}");
    }
    assert_eq!(report("linux/arm64").page_sizes(), [4096, 16384, 65536]);
    assert_eq!(report("raspberry-pi-5").page_sizes(), [16384]);
    assert!(!detect(&boards::pi_4(), Depth::Quick).is_assumed());
}

#[test]
fn features_are_those_that_are_listed_or_that_the_level_is_made_of() {
    let rows = [
        ("linux/arm64", "atomics", None),
        ("arm64/v8.1", "atomics", Some(true)),
        ("arm64/v8.1", "aes", None),
        ("raspberry-pi-4", "atomics", Some(false)),
        ("raspberry-pi-5", "aes", Some(true)),
        ("linux/arm/v5", "vfp", None),
        ("linux/arm/v6", "vfp", Some(true)),
        ("sheevaplug", "vfp", Some(false)),
        ("riscv64", "v", None),
        ("visionfive2", "v", Some(false)),
        ("i686", "sse2", None),
    ];
    for (name, feature, expected) in rows {
        assert_eq!(report(name).isa.has(feature), expected, "{feature} on {name}");
    }
}

#[test]
fn names_are_unique_and_lower_case() {
    let all: Vec<&str> = names().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for name in all {
        assert_eq!(name, name.to_lowercase());
        assert_eq!(Node::named(&name.to_uppercase()).expect(name).name, name);
    }
}

#[test]
fn mistakes_are_told_with_what_was_meant() {
    let rows = [
        ("raspbery-pi-4", "is no platform, no file", "did you mean raspberry-pi-4?"),
        ("toaster", "is no platform, no file", "raspberry-pi-zero, raspberry-pi-1"),
        ("linux/arm/v6l", "v6l is no variant of arm", "did you mean linux/arm/v6?"),
        ("amd64/3", "3 is no variant of amd64", "did you mean linux/amd64/v3?"),
        ("linux/amd46", "amd46 is no architecture", "did you mean linux/amd64?"),
        ("linux/", "is not a platform", "linux/arm/v6"),
        ("arm64/v8/x", "is not a platform", "linux/arm/v6"),
        ("windows/amd64", "not the platform of a Linux node", "linux/amd64"),
        ("linux", "no architecture is named", "linux/amd64"),
        ("linux/wasm", "not the platform of a Linux node", "linux/amd64"),
        ("missing/node.json", "cannot read missing/node.json", "lighterman host --json > node.json"),
    ];
    for (text, message, hint) in rows {
        let error = Node::named(text).expect_err(text);
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert!(error.hint().is_some_and(|told| told.contains(hint)), "{text}: {:?}", error.hint());
    }
}

#[test]
fn files_are_read_back_and_doubtful_ones_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let attic = detect(&boards::pi_4_armhf(), Depth::Full).with_containerd(Platform::linux("arm", "v8"));
    // As the command writes it, with the two fields that it adds.
    let mut json = serde_json::json!(attic);
    json["matches"] = "linux/arm/v8".into();
    let node = Node::named(&write("pi-in-the-attic.json", &json.to_string())).expect("a report");
    assert_eq!((node.name.as_str(), node.report), ("pi-in-the-attic", attic));

    let good = serde_json::json!(report("raspberry-pi-4"));
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect("a field") = value;
        changed.to_string()
    };
    let rows = [
        ("{}", "missing field `kernel` at line 1"),
        ("{\n  \"error\": 1,\n", "line 3 column"),
        ("", "EOF while parsing"),
        (&with("/pageSize", 5000.into()), "pages of 5000 bytes"),
        (&with("/pageSize", 512.into()), "pages of 512 bytes"),
        (&with("/kernel/platform/architecture", "".into()), "does not say which platform"),
        (&with("/kernel/platform/architecture", "amd64".into()), "whether amd64 runs"),
        (&with("/kernel/release", "\u{1b}[2J".into()), "control characters"),
        (&with("/runs", vec![good["runs"][0].clone(); 300].into()), "300 architectures"),
    ];
    for (text, reason) in rows {
        let path = write("node.json", text);
        let error = Node::named(&path).expect_err(reason);
        assert!(error.to_string().contains(&path) && error.to_string().contains(reason), "{error}");
    }
    let error = Node::named(&write("long.json", &" ".repeat(2 << 20))).expect_err("too long");
    assert!(matches!(error, KnownError::TooLarge { .. }), "{error}");
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,30}|(linux/)?(arm|arm64|amd64|s390x)(/[a-z0-9.]{0,6})?") {
        match Node::named(&text) {
            Ok(node) => prop_assert!(!node.name.is_empty() && !node.report.runs.is_empty()),
            Err(error) => prop_assert!(error.hint().is_some()),
        }
    }

    #[test]
    fn no_bytes_are_too_odd(at in 0_usize..2000, byte: u8) {
        let mut json = serde_json::to_vec(&report("raspberry-pi-5")).expect("JSON");
        let at = at % json.len();
        json[at] = byte;
        // Whatever is read back can be used.
        if let Ok(report) = file::parse(&json) {
            let _ = (report.isa_platform(), report.execution_of(&Platform::linux("arm", "v7")));
        }
    }
}
