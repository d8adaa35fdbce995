//! What a program's own bytes say about the CPU that it was built for.

use super::{Certainty, Demand, Need};
use crate::core::elf::{ArmAttributes, Binary, Float, GoBuild, Libc};
use crate::diagnose::evidence::{flags, in_file, of_file};
use crate::diagnose::rootfs::File;

/// Extensions of RISC-V that kernels tell about and that not every CPU has.
const RISCV: [&str; 14] =
    ["v", "zba", "zbb", "zbc", "zbs", "zfh", "zfhmin", "zfa", "zicond", "zacas", "zvbb", "zvfhmin", "zcb", "zawrs"];

pub(super) fn needs(file: &File, binary: &Binary) -> Vec<Need> {
    let mut needs = Vec::new();
    if let Some(go) = &binary.go {
        needs.extend(by_go(file, go, binary.architecture().unwrap_or_default()));
    }
    if let Some(arm) = &binary.arm {
        needs.extend(by_attributes(file, arm));
    }
    needs.extend(hard_float(file, binary));
    needs.extend(by_note(file, binary));
    needs.extend(by_riscv_arch(file, binary));
    needs
}

/// Settings that are the least there is say nothing. The one of 32-bit ARM does, because there a
/// missing variant stands for v7.
///
/// Go's run-time checks GOAMD64, the floating point of GOARM, and LSE of GOARM64 before anything
/// else; levels of the others end in an illegal instruction.
fn by_go(file: &File, go: &GoBuild, architecture: &str) -> Vec<Need> {
    let (name, certainty) = match architecture {
        "amd64" => ("GOAMD64", Certainty::Proven),
        "arm" => ("GOARM", Certainty::Proven),
        "arm64" => ("GOARM64", Certainty::Likely),
        "ppc64" | "ppc64le" => ("GOPPC64", Certainty::Likely),
        "riscv64" => ("GORISCV64", Certainty::Likely),
        _ => return Vec::new(),
    };
    let Some(setting) = go.setting(name) else { return Vec::new() };
    let mut options = setting.value.split(',');
    let level = options.next().unwrap_or_default();
    let options: Vec<&str> = options.collect();
    let length = (name.len() + 1 + setting.value.len()) as u64;
    let evidence = || {
        in_file(file, format!("Go's settings of the build: {name}={}", setting.value), setting.at..setting.at + length)
    };
    let features = |features: &[&'static str], certainty| Need {
        demand: Demand::Features(features.to_vec()),
        certainty,
        evidence: evidence(),
    };
    let at_least = |level: String| Need { demand: Demand::Level(level), certainty, evidence: evidence() };
    match (architecture, level) {
        ("amd64", "v2" | "v3" | "v4") => vec![at_least(level.into())],
        ("arm", "5" | "6" | "7") => {
            let hard = options.contains(&"hardfloat") || (level != "5" && !options.contains(&"softfloat"));
            let unit: &[&'static str] = if level == "7" { &["vfpv3"] } else { &["vfp"] };
            let mut needs = vec![at_least(format!("v{level}"))];
            needs.extend(hard.then(|| features(unit, Certainty::Proven)));
            needs
        }
        ("arm64", level) => {
            let mut needs = Vec::new();
            if is_arm64_level(level) {
                needs.push(at_least(level.into()));
            }
            if options.contains(&"lse") || !needs.is_empty() {
                needs.push(features(&["atomics"], Certainty::Proven));
            }
            if options.contains(&"crypto") {
                needs.push(features(&["aes", "pmull", "sha1", "sha2"], Certainty::Likely));
            }
            needs
        }
        ("ppc64" | "ppc64le", "power9" | "power10") | ("riscv64", "rva22u64" | "rva23u64") => {
            vec![at_least(level.into())]
        }
        _ => Vec::new(),
    }
}

/// Above v8.0, which every CPU of the architecture has.
fn is_arm64_level(level: &str) -> bool {
    level.strip_prefix("v8.").is_some_and(|minor| minor != "0" && minor.parse::<u8>().is_ok())
        || level.strip_prefix("v9.").is_some_and(|minor| minor.parse::<u8>().is_ok())
}

fn by_attributes(file: &File, arm: &ArmAttributes) -> Vec<Need> {
    let need = |demand, certainty, what| Need { demand, certainty, evidence: in_file(file, what, arm.at.clone()) };
    let mut needs = Vec::new();
    if let (Some(variant), Some(number)) = (arm.variant(), arm.cpu_arch) {
        let what = format!("Tag_CPU_arch of the build attributes: {number} ({})", arm.cpu_arch_text().unwrap_or("?"));
        needs.push(need(Demand::Level(variant.into()), Certainty::Likely, what));
    }
    // Vector code is entered after a look at the CPU: glibc has some in every static program.
    needs
}

/// A program that passes arguments in the registers of a floating-point unit does not run without.
fn hard_float(file: &File, binary: &Binary) -> Option<Need> {
    if binary.arm_abi()?.float != Some(Float::Hard) {
        return None;
    }
    let (feature, evidence) = match &binary.arm {
        Some(arm) if arm.fp_arch.is_some_and(|unit| unit > 0) => {
            let unit = arm.fp_arch.unwrap_or_default();
            let feature = if unit >= 3 { "vfpv3" } else { "vfp" };
            (feature, in_file(file, format!("hard-float, Tag_FP_arch of the build attributes: {unit}"), arm.at.clone()))
        }
        _ => ("vfp", flags(file, binary)),
    };
    Some(Need { demand: Demand::Features(vec![feature]), certainty: Certainty::Likely, evidence })
}

/// glibc's loader holds the note of a program against the CPU ("CPU ISA level is lower than
/// required", since 2.33). Nobody does that for a static program, or one of another C library.
fn by_note(file: &File, binary: &Binary) -> Option<Need> {
    let level = binary.x86_level.filter(|level| *level > 1)?;
    let checked = binary.interpreter.libc() == Some(Libc::Glibc);
    let certainty = if checked { Certainty::Likely } else { Certainty::Hinted };
    let what = format!("the note GNU_PROPERTY_X86_ISA_1_NEEDED demands x86-64-v{level}");
    let evidence = in_file(file, what, binary.x86_note.clone()?);
    Some(Need { demand: Demand::Level(format!("v{level}")), certainty, evidence })
}

/// Linkers write down all extensions of all parts, so that code for a CPU that has more, which
/// looks for it first, is among them.
fn by_riscv_arch(file: &File, binary: &Binary) -> Option<Need> {
    let arch = binary.riscv_arch.as_deref()?;
    let has = |name: &str| arch.split('_').skip(1).any(|part| is_extension(part, name));
    let features: Vec<&'static str> = RISCV.into_iter().filter(|name| has(name)).collect();
    let evidence = of_file(file, format!("Tag_RISCV_arch of the build attributes: {arch}"));
    (!features.is_empty()).then_some(Need {
        demand: Demand::Features(features),
        certainty: Certainty::Hinted,
        evidence,
    })
}

/// `zba1p0` is `zba` in version 1.0.
fn is_extension(text: &str, name: &str) -> bool {
    let rest = text.strip_prefix(name);
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'p') && !rest.starts_with('p'))
}
