//! The test bed: real registries, scripted ones, images, and the program under test.
//!
//! Everything listens on a free port of the loopback interface, lives in a temporary
//! folder and ends with its owner. A missing tool fails the test that needs it and
//! says how to install it; no test skips itself.

pub(crate) mod build;
pub(crate) mod certs;
#[cfg(feature = "containerd")]
pub(crate) mod clock;
#[cfg(feature = "containerd")]
pub(crate) mod containerd;
#[cfg(feature = "containerd")]
pub(crate) mod cri;
#[cfg(feature = "containerd")]
pub(crate) mod daemon;
pub(crate) mod debian;
pub(crate) mod dice;
#[cfg(feature = "containerd")]
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod fixture;
pub(crate) mod liar;
pub(crate) mod lighterman;
#[cfg(feature = "containerd")]
pub(crate) mod mirror;
pub(crate) mod odd;
pub(crate) mod registry;
pub(crate) mod remote;
pub(crate) mod sandbox;
pub(crate) mod silent;
#[cfg(feature = "containerd")]
pub(crate) mod snapshots;
pub(crate) mod token;

#[cfg(feature = "containerd")]
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Finds a program, or fails the test with the package to install.
pub(crate) fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{name} is not installed: run `apt-get install {package}`, or `tests/run`, which installs all it needs"
            )
        })
}

/// An address that was free a moment ago.
#[cfg(feature = "containerd")]
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address")
}

/// Runs a command to its end and fails the test, with all that it said, unless it succeeded.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// An architecture under the three names that Go, the kernel and Debian have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// `os/arch[/variant]`, normalised.
    pub(crate) platform: &'static str,
    /// GOARCH.
    pub(crate) arch: &'static str,
    /// The variant that an index declares; empty for none.
    pub(crate) variant: &'static str,
    /// What `uname -m` prints.
    pub(crate) uname: &'static str,
    /// Debian's name.
    pub(crate) debian: &'static str,
    /// qemu's name.
    pub(crate) qemu: &'static str,
    /// `e_machine` of its ELF files.
    pub(crate) elf: u8,
}

pub(crate) const AMD64: Machine = Machine {
    platform: "linux/amd64",
    arch: "amd64",
    variant: "",
    uname: "x86_64",
    debian: "amd64",
    qemu: "x86_64",
    elf: 0x3e,
};
pub(crate) const ARM64: Machine = Machine {
    platform: "linux/arm64",
    arch: "arm64",
    variant: "v8",
    uname: "aarch64",
    debian: "arm64",
    qemu: "aarch64",
    elf: 0xb7,
};
pub(crate) const ARMV7: Machine = Machine {
    platform: "linux/arm/v7",
    arch: "arm",
    variant: "v7",
    uname: "armv7l",
    debian: "armhf",
    qemu: "arm",
    elf: 0x28,
};

/// Every machine of the multi-arch image.
pub(crate) const MACHINES: [Machine; 3] = [AMD64, ARM64, ARMV7];

/// The machine that the tests run on.
pub(crate) fn host() -> Machine {
    match std::env::consts::ARCH {
        "x86_64" => AMD64,
        "aarch64" => ARM64,
        other => panic!("the test bed has images for x86_64 and aarch64 hosts, not for {other}"),
    }
}

/// A machine whose programs the host's CPU cannot run.
pub(crate) fn foreign() -> Machine {
    if host() == AMD64 { ARM64 } else { AMD64 }
}

/// Every file below a directory, relative to it, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(next) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.expect("a readable directory entry").path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else {
                found.push(path.strip_prefix(dir).expect("below dir").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// How much of something a person asked for by a variable of the environment; tests that can do more
/// than CI has time for go by it.
#[cfg(feature = "containerd")]
pub(crate) fn asked_for(variable: &str) -> Option<usize> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable} is a number: {error} in {text:?}")))
}
