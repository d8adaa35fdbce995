//! Machines that are known by name, each with where its facts come from.

use crate::core::platform::Platform;
use crate::host::arch;

/// A machine, as far as its name says what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// What people call it, the usual name first.
    pub(super) names: &'a [&'a str],
    /// GOARCH of its kernel.
    pub(super) architecture: &'a str,
    /// Level of its CPU; empty where its architecture has none or it is not known.
    pub(super) level: &'a str,
    /// Features as `/proc/cpuinfo` lists them; empty for those that its level implies, and of a
    /// platform where nothing is known of them.
    pub(super) features: &'a str,
    /// Size of a memory page in bytes, where its name says that.
    pub(super) page_size: Option<u64>,
    /// Whether it runs the 32-bit architecture below its own.
    pub(super) compat: Compat,
    /// The userland, and so containerd, is of that 32-bit architecture.
    pub(super) userland32: bool,
}

/// Whether a 64-bit machine runs 32-bit programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compat {
    /// The CPU can, and the kernels that it usually runs are built for it.
    Runs,
    /// The CPU cannot.
    Lacking,
    /// It depends on what the name does not say.
    Unknown,
}

const KIB: u64 = 1024;

/// Features of Neoverse N1 (Graviton2's cpuinfo).
const NEOVERSE_N1: &str =
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs";
/// Features of Cortex-A76: those of Neoverse N1 without ssbs.
const CORTEX_A76: &str =
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp";
/// Features of Apple M1 (its cpuinfo under Asahi Linux).
const APPLE_M1: &str = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma \
    lrcpc dcpop sha3 asimddp sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp flagm2 frint";
/// Features of Neoverse V1 (Graviton3's auxiliary vector).
const NEOVERSE_V1: &str = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma \
    lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm \
    svebf16 i8mm bf16 dgh rng";
/// Features of Neoverse V2 (Graviton4's auxiliary vector).
const NEOVERSE_V2: &str = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma \
    lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp sve2 \
    sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svebf16 i8mm bf16 dgh rng bti";
/// Features of Cortex-A53 and A72 as Broadcom builds them in, without cryptography (cpuinfo of a Pi 4).
const BROADCOM_V8: &str = "fp asimd evtstrm crc32 cpuid";

/// Most rows were taken from machines (tests/data/boards and the tests of this room compare them).
/// Of the others: Pi 5 has Cortex-A76, and its kernel pages of 16 KiB and CONFIG_COMPAT
/// (bcm2712_defconfig of raspberrypi/linux); a BeagleBone's cpuinfo is that of any AM335x, and a
/// SheevaPlug's that of any Kirkwood; Altra is Neoverse N1 too. Linux under macOS has pages of
/// 4 KiB, no ssbs, and 64-bit mode alone (its `lscpu`). Whether Graviton3 and 4 run 32-bit programs
/// was not found out. Loongson's kernels have pages of 16 KiB in the usual configuration, and
/// kernels for POWER such of 64 KiB in most distributions.
pub(super) const MACHINES: [Machine<'static>; 27] = [
    Machine::new(&["raspberry-pi-zero", "raspberry-pi-1"], "arm", "v6").has("half thumb fastmult vfp edsp java tls"),
    Machine::new(&["raspberry-pi-2"], "arm", "v7")
        .has("half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"),
    Machine::new(&["beaglebone"], "arm", "v7").has("half thumb fastmult vfp edsp thumbee neon vfpv3 tls vfpd32"),
    Machine::new(&["sheevaplug"], "arm", "v5").has("swp half thumb fastmult edsp"),
    Machine::new(&["raspberry-pi-3", "raspberry-pi-zero-2", "raspberry-pi-4"], "arm64", "v8.0")
        .has(BROADCOM_V8)
        .aarch32()
        .pages(4 * KIB),
    // 32-bit Raspberry Pi OS, whose kernel is the 64-bit one on this board since 2023.
    Machine::new(&["raspberry-pi-4-32bit"], "arm64", "v8.0")
        .has(BROADCOM_V8)
        .aarch32()
        .under_32bit_userland()
        .pages(4 * KIB),
    Machine::new(&["raspberry-pi-5"], "arm64", "v8.2").has(CORTEX_A76).aarch32().pages(16 * KIB),
    Machine::new(&["graviton2", "ampere-altra"], "arm64", "v8.2").has(NEOVERSE_N1).aarch32().pages(4 * KIB),
    Machine::new(&["graviton3"], "arm64", "v8.4").has(NEOVERSE_V1).pages(4 * KIB),
    Machine::new(&["graviton4"], "arm64", "v9.0").has(NEOVERSE_V2).pages(4 * KIB),
    Machine::new(&["apple-silicon", "apple-m1", "asahi"], "arm64", "v8.5")
        .has(APPLE_M1)
        .without_aarch32()
        .pages(16 * KIB),
    Machine::new(&["apple-silicon-vm", "docker-desktop-mac"], "arm64", "v8.4").without_aarch32().pages(4 * KIB),
    Machine::new(&["x86-64-v1"], "amd64", "v1"),
    Machine::new(&["x86-64-v2"], "amd64", "v2"),
    Machine::new(&["x86-64-v3"], "amd64", "v3"),
    Machine::new(&["x86-64-v4"], "amd64", "v4"),
    Machine::new(&["power8"], "ppc64le", "power8").pages(64 * KIB),
    Machine::new(&["power9"], "ppc64le", "power9").pages(64 * KIB),
    Machine::new(&["power10"], "ppc64le", "power10").pages(64 * KIB),
    Machine::new(&["z13"], "s390x", "z13"),
    Machine::new(&["z14"], "s390x", "z14"),
    Machine::new(&["z15"], "s390x", "z15"),
    Machine::new(&["z16"], "s390x", "z16"),
    Machine::new(&["visionfive2"], "riscv64", "rva20u64"),
    Machine::new(&["spacemit-k1", "banana-pi-f3"], "riscv64", "rva22u64"),
    Machine::new(&["loongson-3a5000"], "loong64", "").pages(16 * KIB),
    Machine::new(&["i686"], "386", ""),
];

impl<'a> Machine<'a> {
    /// With the pages that all kernels of its architecture have, if they do. x86-64 runs 32-bit
    /// programs wherever nobody switched that off; of arm64 it is not known.
    const fn new(names: &'a [&'a str], architecture: &'a str, level: &'a str) -> Self {
        let compat = if matches!(architecture.as_bytes(), b"amd64") { Compat::Runs } else { Compat::Unknown };
        let page_size = match arch::page_sizes(architecture) {
            [only] => Some(*only),
            _ => None,
        };
        Self { names, architecture, level, features: "", page_size, compat, userland32: false }
    }

    const fn has(self, features: &'a str) -> Self {
        Self { features, ..self }
    }

    const fn pages(self, page_size: u64) -> Self {
        Self { page_size: Some(page_size), ..self }
    }

    const fn aarch32(self) -> Self {
        Self { compat: Compat::Runs, ..self }
    }

    const fn without_aarch32(self) -> Self {
        Self { compat: Compat::Lacking, ..self }
    }

    const fn under_32bit_userland(self) -> Self {
        Self { userland32: true, ..self }
    }

    /// Whatever has this platform. A level that it does not name is not known, and neither is a size
    /// of pages that kernels can choose; a bare `arm` is v7 to every client. `None` for other systems
    /// than Linux, and for architectures that nothing is known of.
    pub(super) fn of_platform(platform: &'a Platform) -> Option<Self> {
        let (architecture, _) = arch::elf_headers().find(|(name, _)| *name == platform.architecture)?;
        if platform.os != "linux" {
            return None;
        }
        let machine = |architecture, level| Self::new(&[], architecture, level);
        Some(match (architecture, platform.variant.as_str()) {
            // No 32-bit kernel says so: containerd finds it in a 32-bit userland on a 64-bit kernel.
            ("arm", "v8") => machine("arm64", "").aarch32().under_32bit_userland(),
            ("arm", "") => machine("arm", "v7"),
            // What people write of any arm64; the lowest level is v8.0.
            ("arm64", "v8") => machine("arm64", ""),
            ("arm64", "v9") => machine("arm64", "v9.0"),
            (architecture, level) => machine(architecture, level),
        })
    }
}
