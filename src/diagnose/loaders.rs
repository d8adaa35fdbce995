//! Dynamic loaders of Linux by their paths, and what brings each into an image.
//!
//! Paths: glibc's `shlib-versions` and `sysdeps/unix/sysv/linux/*/ldconfig.h`; musl's `configure`
//! (`ld-musl-$ARCH$SUBARCH.so.1`). Ports: Debian, "Supported architectures", and the ports archive.

use crate::core::elf::Libc;

/// One loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) path: &'static str,
    pub(super) libc: Libc,
    /// Debian's name of the port whose C library has it.
    pub(super) port: Option<&'static str>,
}

const fn glibc(path: &'static str, port: &'static str) -> Known {
    Known { path, libc: Libc::Glibc, port: Some(port) }
}

const fn musl(path: &'static str) -> Known {
    Known { path, libc: Libc::Musl, port: None }
}

/// One path may be the loader of several architectures: `/lib64/ld.so.1` is that of 64-bit MIPS and
/// of LoongArch's old world, `/lib64/ld64.so.2` that of POWER in both orders of bytes.
const LOADERS: [Known; 24] = [
    glibc("/lib64/ld-linux-x86-64.so.2", "amd64"),
    glibc("/lib/ld-linux.so.2", "i386"),
    glibc("/lib/ld-linux-aarch64.so.1", "arm64"),
    glibc("/lib/ld-linux-armhf.so.3", "armhf"),
    glibc("/lib/ld-linux.so.3", "armel"),
    glibc("/lib64/ld64.so.2", "ppc64el"),
    glibc("/lib/ld64.so.1", "s390x"),
    glibc("/lib/ld-linux-riscv64-lp64d.so.1", "riscv64"),
    glibc("/lib64/ld-linux-loongarch-lp64d.so.1", "loong64"),
    glibc("/lib64/ld.so.1", "mips64el"),
    glibc("/lib/ld.so.1", "mipsel"),
    glibc("/lib64/ld64.so.1", "ppc64"),
    musl("/lib/ld-musl-x86_64.so.1"),
    musl("/lib/ld-musl-i386.so.1"),
    musl("/lib/ld-musl-aarch64.so.1"),
    musl("/lib/ld-musl-armhf.so.1"),
    musl("/lib/ld-musl-arm.so.1"),
    musl("/lib/ld-musl-powerpc64le.so.1"),
    musl("/lib/ld-musl-s390x.so.1"),
    musl("/lib/ld-musl-riscv64.so.1"),
    musl("/lib/ld-musl-loongarch64.so.1"),
    musl("/lib/ld-musl-mips64el.so.1"),
    musl("/lib/ld-musl-mipsel.so.1"),
    musl("/lib/ld-musl-powerpc64.so.1"),
];

/// Where they lie.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    LOADERS.iter().map(|loader| loader.path)
}

/// The one of this path.
pub(super) fn known(path: &str) -> Option<Known> {
    LOADERS.into_iter().find(|loader| loader.path == path)
}

/// Directories in which the loader of an architecture looks for libraries without being told
/// (ld.so(8), and Debian's multiarch names).
pub(super) fn libraries(architecture: &str) -> Vec<String> {
    let triplet = match architecture {
        "amd64" => "x86_64-linux-gnu",
        "386" => "i386-linux-gnu",
        "arm64" => "aarch64-linux-gnu",
        "arm" => "arm-linux-gnueabihf",
        "ppc64le" => "powerpc64le-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        "loong64" => "loongarch64-linux-gnu",
        "mips64le" => "mips64el-linux-gnuabi64",
        _ => "",
    };
    let mut directories: Vec<String> =
        ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"].map(String::from).into();
    if !triplet.is_empty() {
        directories.extend(["/lib", "/usr/lib", "/usr/local/lib"].map(|above| format!("{above}/{triplet}")));
    }
    if architecture == "arm" {
        directories.extend(["/lib", "/usr/lib"].map(|above| format!("{above}/arm-linux-gnueabi")));
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::elf::Interpreter;

    #[test]
    fn every_loader_is_of_the_library_that_its_name_says() {
        for (at, loader) in LOADERS.iter().enumerate() {
            assert_eq!(Interpreter::Path(loader.path.into()).libc(), Some(loader.libc), "{}", loader.path);
            assert_eq!(loader.port.is_some(), loader.libc == Libc::Glibc, "{}", loader.path);
            assert!(LOADERS[..at].iter().all(|other| other.path != loader.path), "{} twice", loader.path);
        }
        for (path, port) in
            [("/lib/ld64.so.1", "s390x"), ("/lib64/ld64.so.2", "ppc64el"), ("/lib/ld-linux.so.2", "i386")]
        {
            assert_eq!(known(path).and_then(|loader| loader.port), Some(port));
        }
        assert_eq!(known("/lib/ld-linux-none.so.9"), None);
    }
}
