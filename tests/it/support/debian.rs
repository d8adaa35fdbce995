//! Programs of Debian for every machine that it has them for. `tests/run --install` puts them
//! under `target/programs/`, where each lies at the place that its package has for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::files_below;
use super::fixture::Tree;

/// One of Debian's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    /// Debian's name of it.
    pub(crate) name: &'static str,
    /// GOARCH.
    pub(crate) arch: &'static str,
    /// The least variant that its programs need; empty where there are none.
    pub(crate) variant: &'static str,
    /// `e_machine` of its ELF files.
    pub(crate) elf: u16,
    /// The loader that its dynamic programs name.
    pub(crate) loader: &'static str,
}

const fn port(
    name: &'static str,
    (arch, variant): (&'static str, &'static str),
    elf: u16,
    loader: &'static str,
) -> Port {
    Port { name, arch, variant, elf, loader }
}

pub(crate) const AMD64: Port = port("amd64", ("amd64", ""), 62, "/lib64/ld-linux-x86-64.so.2");
pub(crate) const I386: Port = port("i386", ("386", ""), 3, "/lib/ld-linux.so.2");
pub(crate) const ARM64: Port = port("arm64", ("arm64", ""), 183, "/lib/ld-linux-aarch64.so.1");
pub(crate) const ARMHF: Port = port("armhf", ("arm", "v7"), 40, "/lib/ld-linux-armhf.so.3");
pub(crate) const ARMEL: Port = port("armel", ("arm", "v5"), 40, "/lib/ld-linux.so.3");
pub(crate) const PPC64EL: Port = port("ppc64el", ("ppc64le", ""), 21, "/lib64/ld64.so.2");
pub(crate) const S390X: Port = port("s390x", ("s390x", ""), 22, "/lib/ld64.so.1");
pub(crate) const MIPS64EL: Port = port("mips64el", ("mips64le", ""), 8, "/lib64/ld.so.1");
pub(crate) const RISCV64: Port = port("riscv64", ("riscv64", ""), 243, "/lib/ld-linux-riscv64-lp64d.so.1");

/// All of them.
pub(crate) const PORTS: [Port; 9] = [AMD64, I386, ARM64, ARMHF, ARMEL, PPC64EL, S390X, MIPS64EL, RISCV64];

impl Port {
    /// `linux/arm/v5`.
    pub(crate) fn platform(&self) -> String {
        match self.variant {
            "" => format!("linux/{}", self.arch),
            variant => format!("linux/{}/{variant}", self.arch),
        }
    }

    /// The static program.
    pub(crate) fn busybox(&self) -> Vec<u8> {
        // Where everything is below /usr, so is this.
        let found =
            ["bin/busybox", "usr/bin/busybox"].into_iter().map(|path| self.dir().join(path)).find(|f| f.is_file());
        read(&found.unwrap_or_else(|| self.dir().join("bin/busybox")))
    }

    /// The dynamic program, which [`Port::system`] has at `/usr/bin/hello`.
    pub(crate) fn hello(&self) -> Vec<u8> {
        read(&self.dir().join("usr/bin/hello"))
    }

    /// A layer with the dynamic program, its loader and `os-release`, as Debian installs them. Its
    /// libraries are left out: it cannot be run, and nobody who only looks at it can tell.
    pub(crate) fn system(&self) -> Tree {
        self.files(|path| !path.ends_with("busybox"))
    }

    /// [`Port::system`] without the loader.
    pub(crate) fn system_without_loader(&self) -> Tree {
        self.files(|path| !path.ends_with("busybox") && !is_loader(path))
    }

    /// The loader itself.
    pub(crate) fn loader_program(&self) -> Vec<u8> {
        let files = files_below(&self.dir());
        let file = files.iter().map(|path| self.dir().join(path)).find(|file| is_loader(file) && !file.is_symlink());
        read(&file.unwrap_or_else(|| self.dir().join("lib")))
    }

    fn files(&self, wanted: impl Fn(&Path) -> bool) -> Tree {
        let (dir, mut tree) = (self.dir(), Tree::new());
        // Of Debian 13 on, these are links in every system.
        for folder in ["bin", "lib"] {
            if !dir.join(folder).is_dir() {
                tree = tree.symlink(folder, &format!("usr/{folder}"));
            }
        }
        let files = files_below(&dir);
        assert!(!files.is_empty(), "{} is not there: {INSTALL}", dir.display());
        for path in files.iter().filter(|path| wanted(Path::new(path))) {
            let file = dir.join(path);
            tree = match std::fs::read_link(&file) {
                Ok(target) => tree.symlink(path, &target.to_string_lossy()),
                Err(_) => {
                    let mode = file.metadata().expect("a file of ours").permissions().mode();
                    tree.file(path, mode & 0o7777, &read(&file))
                }
            };
        }
        tree
    }

    fn dir(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/programs").join(self.name)
    }
}

const INSTALL: &str = "run `tests/run --install`, which downloads Debian's programs for other machines";

fn is_loader(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld"))
}

fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}: {INSTALL}", file.display()))
}
