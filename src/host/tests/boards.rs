//! Machines as they are in the field, written down from their own `/proc` and auxiliary vectors.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use crate::host::{Auxv, CpuidRegisters, Hwprobe, Probe, Recorded, Uname};

pub(super) const PER_LINUX32: u32 = 0x0008;

macro_rules! cpuinfo {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/boards/", $name, ".cpuinfo"))
    };
}

fn board(process: &str, machine: &str, at_platform: &str, hwcaps: (u64, u64), cpuinfo: &str) -> Recorded {
    Recorded {
        process_architecture: process.into(),
        uname: Uname { machine: machine.into(), release: "6.6.31".into() },
        auxv: Auxv {
            platform: (!at_platform.is_empty()).then(|| at_platform.into()),
            hwcap: hwcaps.0,
            hwcap2: hwcaps.1,
            page_size: 4096,
        },
        personality: Some(0),
        files: BTreeMap::from([("/proc/cpuinfo".into(), Ok(cpuinfo.into()))]),
        ..Recorded::default()
    }
}

/// Changes to a board, one after the other.
pub(super) trait With: Sized {
    fn file(self, path: &str, text: &str) -> Self;
    fn without(self, path: &str, error: ErrorKind) -> Self;
    fn probe(self, architecture: &str, outcome: Probe) -> Self;
    fn linux32(self, machine: &str) -> Self;
    fn binfmt(self, entries: &[(&str, &str)]) -> Self;
}

impl With for Recorded {
    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), Ok(text.into()));
        self
    }

    fn without(mut self, path: &str, error: ErrorKind) -> Self {
        self.files.insert(path.into(), Err(error));
        self
    }

    fn probe(mut self, architecture: &str, outcome: Probe) -> Self {
        self.probes.insert(architecture.into(), outcome);
        self
    }

    fn linux32(mut self, machine: &str) -> Self {
        self.personality = Some(PER_LINUX32);
        self.uname.machine = machine.into();
        self
    }

    fn binfmt(mut self, entries: &[(&str, &str)]) -> Self {
        let names = entries.iter().map(|(name, _)| *name).chain(["register", "status"]).map(String::from);
        self.directories.insert("/proc/sys/fs/binfmt_misc".into(), names.collect());
        for (name, text) in entries {
            self = self.file(&format!("/proc/sys/fs/binfmt_misc/{name}"), text);
        }
        self.file("/proc/sys/fs/binfmt_misc/status", "enabled\n")
    }
}

pub(super) const QEMU_AARCH64: &str = "enabled\n\
    interpreter /usr/bin/qemu-aarch64-static\n\
    flags: OCF\n\
    offset 0\n\
    magic 7f454c460201010000000000000000000200b700\n\
    mask ffffffffffffff00fffffffffffffffffeffffff\n";

pub(super) const QEMU_ARM: &str = "enabled\n\
    interpreter /usr/bin/qemu-arm-static\n\
    flags: OC\n\
    offset 0\n\
    magic 7f454c4601010100000000000000000002002800\n\
    mask ffffffffffffff00fffffffffffffffffeffffff\n";

/// ARM1176, ARMv6, whose kernel prints architecture 7.
pub(crate) fn pi_zero() -> Recorded {
    board("arm", "armv6l", "v6l", (0x81d6, 0), cpuinfo!("pi-zero"))
}

/// Cortex-A7 under a 32-bit kernel.
pub(crate) fn pi_2() -> Recorded {
    board("arm", "armv7l", "v7l", (0x003f_b0d6, 0), cpuinfo!("pi-2"))
}

/// Cortex-A53, a 64-bit core under a 32-bit kernel.
pub(crate) fn pi_3_32bit() -> Recorded {
    board("arm", "armv7l", "v7l", (0x003f_b0d6, 0x10), cpuinfo!("pi-3-32bit"))
}

/// 32-bit Raspberry Pi OS of 2023 and later: armhf programs on the 64-bit kernel.
pub(crate) fn pi_4_armhf() -> Recorded {
    board("arm", "aarch64", "v8l", (0x003f_b0d6, 0x10), cpuinfo!("pi-4"))
        .probe("arm64", Probe::Ran)
        .probe("arm", Probe::Ran)
}

/// The same under `setarch linux32`.
pub(crate) fn pi_4_linux32() -> Recorded {
    pi_4_armhf().linux32("armv8l").file("/proc/cpuinfo", cpuinfo!("pi-4-linux32"))
}

/// 64-bit throughout.
pub(crate) fn pi_4() -> Recorded {
    board("arm64", "aarch64", "aarch64", (0x887, 0), cpuinfo!("pi-4")).probe("arm", Probe::Ran)
}

/// ARM926EJ-S, ARMv5 without floating point.
pub(crate) fn arm926() -> Recorded {
    board("arm", "armv5tejl", "v5l", (0x197, 0), cpuinfo!("arm926"))
}

/// Neoverse N1.
pub(crate) fn graviton2() -> Recorded {
    board("arm64", "aarch64", "aarch64", (0x1011_9fff, 0), cpuinfo!("graviton2")).probe("arm", Probe::Ran)
}

/// Neoverse V1.
pub(crate) fn graviton3() -> Recorded {
    board("arm64", "aarch64", "aarch64", (0xdfff_ffff, 0x1_f201), cpuinfo!("graviton3"))
}

/// Neoverse V2.
pub(crate) fn graviton4() -> Recorded {
    board("arm64", "aarch64", "aarch64", (0xffff_ffff, 0x3_f3ff), cpuinfo!("graviton4"))
}

/// No AArch32 at all, and pages of 16 KiB.
pub(crate) fn apple_m1() -> Recorded {
    let mut board = board("arm64", "aarch64", "aarch64", (0xffb3_ffff, 0x181), cpuinfo!("apple-m1"));
    board.auxv.page_size = 16384;
    board
}

/// Registers of a CPU by leaf: (highest leaf, leaf 1 ECX, leaf 7 EBX, leaf 0x80000001 ECX).
fn x86(leaves: (u32, u32, u32, u32), xcr0: Option<u64>) -> Recorded {
    let (highest, basic, structured, extended) = leaves;
    let registers = |eax, ebx, ecx, edx| CpuidRegisters { eax, ebx, ecx, edx };
    let cpuid = BTreeMap::from([
        ((0, 0), registers(highest, 0, 0, 0)),
        ((1, 0), registers(0, 0, basic, 0)),
        ((7, 0), registers(0, structured, 0, 0)),
        ((0x8000_0000, 0), registers(0x8000_0008, 0, 0, 0)),
        ((0x8000_0001, 0), registers(0, 0, extended, 0x2c10_0800)),
    ]);
    let board = board("amd64", "x86_64", "x86_64", (0, 0), cpuinfo!("westmere")).probe("386", Probe::Ran);
    Recorded { cpuid, xcr0, ..board }
}

/// QEMU's oldest model: no SSE3 beyond the first, no SSE4.
pub(crate) fn qemu64() -> Recorded {
    x86((0xd, 0x8000_2001, 0, 0x1), None)
}

/// Xeon X5650.
pub(crate) fn westmere() -> Recorded {
    x86((0xb, 0x029e_e3ff, 0, 0x1), None)
}

/// Xeon Gold 6148.
pub(crate) fn skylake_server() -> Recorded {
    x86((0x16, 0x7ffe_fbff, 0xd39f_fffb, 0x121), Some(0x2e7))
}

/// The same where the kernel or hypervisor does not save the 512-bit registers.
pub(crate) fn skylake_server_without_zmm() -> Recorded {
    x86((0x16, 0x7ffe_fbff, 0xd39f_fffb, 0x121), Some(0x7))
}

/// i386 programs on an x86-64 kernel.
pub(crate) fn i386_userland() -> Recorded {
    let mut board = skylake_server().probe("amd64", Probe::Ran);
    board.process_architecture = "386".into();
    board.auxv.platform = Some("i686".into());
    board
}

/// SpacemiT K1 under Linux 6.6, which has riscv_hwprobe.
pub(crate) fn spacemit_k1() -> Recorded {
    let hwprobe = Hwprobe { base_behavior: 1, ima_extensions: 0x1801_007f };
    Recorded { hwprobe: Some(hwprobe), ..board("riscv64", "riscv64", "", (0x0020_112d, 0), cpuinfo!("visionfive2")) }
}

/// StarFive JH7110 under a kernel before 6.4.
pub(crate) fn visionfive2() -> Recorded {
    board("riscv64", "riscv64", "", (0x112d, 0), cpuinfo!("visionfive2"))
}

pub(crate) fn power9() -> Recorded {
    let mut board = board("ppc64le", "ppc64le", "power9", (0xdc00_65c2, 0xaee0_0000), cpuinfo!("power9"));
    board.auxv.page_size = 65536;
    board
}

pub(crate) fn z14() -> Recorded {
    board("s390x", "s390x", "z14", (0x7fff, 0), cpuinfo!("z14"))
}

/// An architecture without levels.
pub(crate) fn other(process: &str, machine: &str, at_platform: &str) -> Recorded {
    board(process, machine, at_platform, (0, 0), "system type\t\t: Generic\n")
}

/// qemu-user 7.2: an arm64 program on an x86-64 kernel, which sees the host's cpuinfo.
pub(crate) fn qemu_user() -> Recorded {
    board("arm64", "aarch64", "aarch64", (0xffb3_ffff, 0x181), cpuinfo!("westmere"))
        .probe("amd64", Probe::Ran)
        .probe("arm64", Probe::Ran)
        .binfmt(&[("qemu-aarch64", QEMU_AARCH64)])
}
