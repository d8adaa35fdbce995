//! Names of architectures: Go's, the kernel's, and the ELF header's.

/// GOARCH that this program was compiled for.
pub(super) const PROCESS: &str = match (TARGET.as_bytes(), cfg!(target_endian = "little")) {
    (b"x86_64", _) => "amd64",
    (b"x86", _) => "386",
    (b"aarch64", true) => "arm64",
    (b"aarch64", false) => "arm64be",
    (b"arm", true) => "arm",
    (b"arm", false) => "armbe",
    (b"powerpc64", true) => "ppc64le",
    (b"powerpc64", false) => "ppc64",
    (b"mips64", true) => "mips64le",
    (b"mips64", false) => "mips64",
    (b"mips", true) => "mipsle",
    (b"loongarch64", _) => "loong64",
    // riscv64 and s390x have one name everywhere; anything rarer keeps Rust's.
    _ => TARGET,
};

const TARGET: &str = std::env::consts::ARCH;

/// GOARCH of what `uname -m` prints. MIPS prints no byte order, so that of `process` is taken.
pub(super) fn from_machine(machine: &str, process: &str) -> Option<&'static str> {
    let little = process.ends_with("le");
    Some(match machine {
        "x86_64" => "amd64",
        "i386" | "i486" | "i586" | "i686" => "386",
        "aarch64" => "arm64",
        "aarch64_be" => "arm64be",
        "ppc64le" => "ppc64le",
        "ppc64" => "ppc64",
        "s390x" => "s390x",
        "riscv64" => "riscv64",
        "loongarch64" => "loong64",
        "mips64" if little => "mips64le",
        "mips64" => "mips64",
        "mips" if little => "mipsle",
        "mips" => "mips",
        arm if arm.starts_with("arm") && arm.ends_with('b') => "armbe",
        arm if arm.starts_with("arm") => "arm",
        _ => return None,
    })
}

/// What `uname -m` prints on a kernel of this GOARCH; of 32-bit arm, which prints its version, the
/// beginning.
pub(super) fn machine_of(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "386" => "i686",
        "arm64" => "aarch64",
        "arm64be" => "aarch64_be",
        "loong64" => "loongarch64",
        "mips64le" => "mips64",
        "mipsle" => "mips",
        same => same,
    }
}

/// The 32-bit architecture that a kernel of this one may run as well.
pub(super) fn compat_of(kernel: &str) -> Option<&'static str> {
    match kernel {
        "amd64" => Some("386"),
        "arm64" => Some("arm"),
        _ => None,
    }
}

/// Sizes of memory pages that Linux can be built with for an architecture, in bytes, the smallest
/// first: the choices of its Kconfig. Of those that are not listed, the usual ones.
pub(super) const fn page_sizes(architecture: &str) -> &'static [u64] {
    match architecture.as_bytes() {
        b"amd64" | b"386" | b"arm" | b"armbe" | b"riscv64" | b"s390x" => &[4096],
        b"ppc64le" | b"ppc64" => &[4096, 65536],
        _ => &[4096, 16384, 65536],
    }
}

/// Architectures whose CPUs are one family: a kernel of one can be the host of a process of another.
pub(super) fn family(architecture: &str) -> &str {
    match architecture {
        "386" | "amd64" => "x86",
        "arm" | "arm64" | "armbe" | "arm64be" => "arm",
        "ppc64" | "ppc64le" => "ppc",
        mips if mips.starts_with("mips") => "mips",
        other => other,
    }
}

/// (GOARCH, ELF class, byte order, e_machine) of what images are built for.
const ELF: [(&str, u8, u8, u16); 15] = [
    ("386", 1, 1, 3),
    ("amd64", 2, 1, 62),
    ("arm", 1, 1, 40),
    ("arm64", 2, 1, 183),
    ("arm64be", 2, 2, 183),
    ("armbe", 1, 2, 40),
    ("loong64", 2, 1, 258),
    ("mips", 1, 2, 8),
    ("mips64", 2, 2, 8),
    ("mips64le", 2, 1, 8),
    ("mipsle", 1, 1, 8),
    ("ppc64", 2, 2, 21),
    ("ppc64le", 2, 1, 21),
    ("riscv64", 2, 1, 243),
    ("s390x", 2, 2, 22),
];

/// Every architecture whose ELF header is known, with the first 20 bytes of an executable of it:
/// e_ident, e_type (ET_EXEC), e_machine.
pub(super) fn elf_headers() -> impl Iterator<Item = (&'static str, [u8; 20])> {
    ELF.iter().map(|&(architecture, class, order, machine)| {
        let mut header = [0; 20];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
        let halves = if order == 1 {
            (2u16.to_le_bytes(), machine.to_le_bytes())
        } else {
            (2u16.to_be_bytes(), machine.to_be_bytes())
        };
        header[16..18].copy_from_slice(&halves.0);
        header[18..].copy_from_slice(&halves.1);
        (architecture, header)
    })
}

/// Bytes of a hexadecimal text; `None` where it is none.
pub(super) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(high)? << 4 | digit(low)?).ok()
        })
        .collect()
}
