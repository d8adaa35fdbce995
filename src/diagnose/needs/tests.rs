use super::*;
use crate::core::elf::sample::Sample;
use crate::diagnose::testing::image::{image, on};

const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
const MUSL: &str = "/lib/ld-musl-x86_64.so.1";

/// The variant, and how sure it is.
fn least(contents: &Contents) -> (String, Option<Certainty>) {
    let needs = Needs::of(contents).expect("needs of a binary");
    (needs.platform.variant.clone(), needs.certainty())
}

fn features(contents: &Contents) -> Vec<(&'static str, Certainty)> {
    let needs = Needs::of(contents).expect("needs of a binary");
    let features = needs.because.into_iter().filter_map(|need| match need.demand {
        Demand::Features(features) => Some(features.into_iter().map(move |feature| (feature, need.certainty))),
        Demand::Level(_) => None,
    });
    features.flatten().collect()
}

#[test]
fn go_says_which_level_it_was_told() {
    use Certainty::{Likely, Proven};
    for (architecture, name, value, expected) in [
        ("amd64", "GOAMD64", "v1", ("", None)),
        ("amd64", "GOAMD64", "v3", ("v3", Some(Proven))),
        ("amd64", "GOAMD64", "v9", ("", None)),
        ("arm", "GOARM", "5", ("v5", Some(Proven))),
        ("arm", "GOARM", "6", ("v6", Some(Proven))),
        ("arm", "GOARM", "7,softfloat", ("v7", Some(Proven))),
        ("arm64", "GOARM64", "v8.0", ("", None)),
        ("arm64", "GOARM64", "v8.2,lse,crypto", ("v8.2", Some(Likely))),
        ("arm64", "GOARM64", "v9.0", ("v9.0", Some(Likely))),
        ("ppc64le", "GOPPC64", "power8", ("", None)),
        ("ppc64le", "GOPPC64", "power10", ("power10", Some(Likely))),
        ("riscv64", "GORISCV64", "rva22u64", ("rva22u64", Some(Likely))),
        ("s390x", "GOS390X", "z14", ("", None)),
        // Another architecture's setting says nothing.
        ("amd64", "GOARM", "7", ("", None)),
    ] {
        let contents = image(architecture, &Sample::of(architecture).go("go1.23.1", &[(name, value)]));
        assert_eq!(least(&contents), (expected.0.to_owned(), expected.1), "{name}={value} of {architecture}");
    }
    let shown = Needs::of(&image("arm", &Sample::of("arm").go("go1.23.1", &[("GOARM", "6")]))).expect("needs");
    let evidence = &shown.because[0].evidence;
    assert_eq!(evidence.what, "Go's settings of the build: GOARM=6");
    assert_eq!(evidence.bytes.as_deref(), Some("474f41524d3d36"));
    assert_eq!(evidence.path.as_deref(), Some("/usr/bin/app"));
}

#[test]
fn floating_point_follows_from_settings_flags_and_attributes() {
    use Certainty::{Likely, Proven};
    let go = |value| features(&image("arm", &Sample::of("arm").go("go1.23.1", &[("GOARM", value)])));
    assert_eq!(go("5"), []);
    assert_eq!(go("5,hardfloat"), [("vfp", Proven)]);
    assert_eq!(go("6"), [("vfp", Proven)]);
    assert_eq!(go("7"), [("vfpv3", Proven)]);
    assert_eq!(go("7,softfloat"), []);
    let flags = |flags| features(&image("arm", &Sample::of("arm").flags(flags)));
    assert_eq!(flags(0x0500_0400), [("vfp", Likely)]);
    assert_eq!(flags(0x0500_0200), []);
    let attributes = |tags: &[(u8, u8)]| features(&image("arm", &Sample::of("arm").arm_attributes(tags)));
    assert_eq!(attributes(&[(10, 4), (28, 1)]), [("vfpv3", Likely)]);
    assert_eq!(attributes(&[(10, 2), (12, 1), (28, 1)]), [("vfp", Likely)]);
    assert_eq!(attributes(&[(10, 2), (28, 0)]), []);
    let lse = image("arm64", &Sample::of("arm64").go("go1.23.1", &[("GOARM64", "v8.0,lse")]));
    assert_eq!(features(&lse), [("atomics", Proven)]);
}

#[test]
fn extensions_of_riscv_are_hints() {
    let arch = |arch| features(&image("riscv64", &Sample::of("riscv64").riscv_arch(arch)));
    assert_eq!(arch("rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_zicsr2p0_zifencei2p0"), []);
    assert_eq!(arch("rv64i2p1_m2p0_v1p0_zba1p0_zvl128b1p0"), [("v", Certainty::Hinted), ("zba", Certainty::Hinted)]);
}

#[test]
fn a_note_counts_as_much_as_who_reads_it() {
    let note = |bits, loader: Option<&str>| {
        let sample = Sample::of("amd64").x86_note(bits);
        least(&image("amd64", &loader.map_or(sample.clone(), |loader| sample.interpreter(loader))))
    };
    assert_eq!(note(0b111, Some(GLIBC)), ("v3".to_owned(), Some(Certainty::Likely)));
    assert_eq!(note(1, Some(GLIBC)), (String::new(), None));
    assert_eq!(note(0b111, Some(MUSL)), (String::new(), None));
    assert_eq!(note(0b111, None), (String::new(), None));
    let hinted = Needs::of(&image("amd64", &Sample::of("amd64").x86_note(0b111))).expect("needs");
    let need = &hinted.because[0];
    assert_eq!((&need.demand, need.certainty), (&Demand::Level("v3".into()), Certainty::Hinted));
    assert_eq!(need.evidence.bytes.as_deref(), Some("07000000"));
}

#[test]
fn distributions_are_built_for_levels() {
    let dynamic = |architecture: &str, id, version| {
        least(&on(image(architecture, &Sample::of(architecture).interpreter("/lib/ld64.so.1")), id, version)).0
    };
    for (id, version, rows) in [
        ("rhel", "9.5", [("amd64", "v2"), ("ppc64le", "power9"), ("s390x", "z14"), ("arm64", "")].as_slice()),
        ("rhel", "8.10", &[("amd64", ""), ("ppc64le", ""), ("s390x", "")]),
        ("almalinux", "9.4", &[("amd64", "v2")]),
        ("rocky", "10.0", &[("amd64", "v3"), ("ppc64le", "power9"), ("s390x", "z14")]),
        ("centos", "10", &[("amd64", "v3")]),
        ("amzn", "2023", &[("amd64", "v2"), ("arm64", "v8.2")]),
        ("amzn", "2", &[("amd64", ""), ("arm64", "")]),
        ("ubuntu", "22.04", &[("amd64", ""), ("ppc64le", "power9"), ("s390x", "z13"), ("riscv64", "")]),
        ("ubuntu", "25.10", &[("riscv64", "rva23u64"), ("s390x", "z13")]),
        ("ubuntu", "26.04", &[("s390x", "z15")]),
        ("ubuntu", "20.04", &[("ppc64le", "")]),
        ("wolfi", "20230201", &[("amd64", "v2")]),
        ("opensuse-leap", "16.0", &[("amd64", "v2"), ("s390x", "")]),
        ("sles", "16.0", &[("amd64", "v2")]),
        ("opensuse-leap", "15.6", &[("amd64", "")]),
        ("sles", "15.7", &[("amd64", "")]),
        ("opensuse-tumbleweed", "20260101", &[("amd64", "")]),
        ("debian", "12", &[("amd64", ""), ("arm64", ""), ("s390x", "")]),
        ("fedora", "40", &[("amd64", "")]),
        ("", "", &[("amd64", "")]),
    ] {
        for (architecture, level) in rows {
            assert_eq!(dynamic(architecture, id, version), *level, "{id} {version} {architecture}");
        }
    }
    // A static program, or one of another C library, does not use the distribution's.
    assert_eq!(least(&on(image("amd64", &Sample::of("amd64")), "rhel", "9.5")).0, "");
    assert_eq!(least(&on(image("amd64", &Sample::of("amd64").interpreter(MUSL)), "rhel", "9.5")).0, "");
    // AlmaLinux has a second build, which its images declare.
    let second = on(image("amd64/v2", &Sample::of("amd64").interpreter(GLIBC)), "almalinux", "10.0");
    assert_eq!(least(&second), ("v2".to_owned(), Some(Certainty::Likely)));
}

#[test]
fn hard_float_distributions_differ_in_what_they_need() {
    let armhf = |id, flags| {
        let program = Sample::of("arm").flags(flags).interpreter("/lib/ld-linux-armhf.so.3");
        least(&on(image("arm/v7", &program), id, "12")).0
    };
    assert_eq!(armhf("debian", 0x0500_0400), "v7");
    assert_eq!(armhf("raspbian", 0x0500_0400), "v6");
    assert_eq!(armhf("debian", 0x0500_0200), "");
}

#[test]
fn the_highest_of_what_is_sure_counts() {
    let program = Sample::of("amd64").interpreter(GLIBC).x86_note(0b1111);
    assert_eq!(least(&on(image("amd64", &program), "rhel", "9.5")).0, "v4");
    let cgo = Sample::of("arm").go("go1.23.1", &[("GOARM", "6")]).arm_attributes(&[(6, 10), (7, b'A')]);
    assert_eq!(least(&image("arm", &cgo)), ("v7".to_owned(), Some(Certainty::Likely)));
    // A static program's note is a hint, which raises nothing.
    let hinted = Sample::of("amd64").x86_note(0b1111).go("go1.23.1", &[("GOAMD64", "v2")]);
    assert_eq!(least(&image("amd64", &hinted)), ("v2".to_owned(), Some(Certainty::Proven)));
}

#[test]
fn what_the_publisher_declares_is_a_hint_where_nothing_else_is_known() {
    let levels = |claimed, program: &Sample| -> Vec<(String, Certainty)> {
        let needs = Needs::of(&image(claimed, program)).expect("needs");
        let levels = needs.because.into_iter().filter_map(|need| match need.demand {
            Demand::Level(level) => Some((level, need.certainty)),
            Demand::Features(_) => None,
        });
        levels.collect()
    };
    assert_eq!(levels("amd64/v3", &Sample::of("amd64")), [("v3".to_owned(), Certainty::Hinted)]);
    assert_eq!(levels("arm/v7", &Sample::of("arm")), [("v7".to_owned(), Certainty::Hinted)]);
    // A bare one is what clients make of it, and no word of the publisher's.
    assert_eq!(levels("arm", &Sample::of("arm")), []);
    assert_eq!(levels("arm64/v8", &Sample::of("arm64")), []);
    // Of another architecture, or where the program itself says something.
    assert_eq!(levels("arm/v7", &Sample::of("amd64")), []);
    let go = Sample::of("amd64").go("go1.23.1", &[("GOAMD64", "v2")]);
    assert_eq!(levels("amd64/v3", &go), [("v2".to_owned(), Certainty::Proven)]);
}

#[test]
fn nothing_is_known_of_what_has_no_name() {
    let mut none = image("amd64", &Sample::of("amd64"));
    none.start = None;
    assert_eq!(Needs::of(&none), None);
}
