//! Programs that the tests build, once in a run: for every architecture and for CPU levels that no
//! package of Debian has.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use super::{Machine, host, succeed, tool};

/// The program of the blog post that this project starts from.
const MAIN: &str = r#"package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("GOOS: %s, GOARCH: %s\n", runtime.GOOS, runtime.GOARCH)
}
"#;

/// What [`go`] makes prints this where it runs.
pub(crate) fn greeting(arch: &str) -> String {
    format!("GOOS: linux, GOARCH: {arch}\n")
}

/// A static program in Go that prints its architecture. `level` is a variable of the tool-chain, as
/// in `GOARM=6`, or empty for its default.
pub(crate) fn go(arch: &str, level: &str) -> Arc<Vec<u8>> {
    once(&format!("go-{arch}-{}", level.replace(['=', ','], "-")), |file| {
        let source = file.with_extension("go");
        std::fs::write(&source, MAIN).expect("a writable target folder");
        let cache = folder().join("cache");
        let mut build = Command::new(tool("go", "golang-go"));
        build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(file).arg(&source);
        build.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        build.env("GOCACHE", &cache).env("GOPATH", folder().join("path")).env("HOME", folder());
        build.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")]);
        build.envs([("GOOS", "linux"), ("GOARCH", arch)]).envs(level.split_once('='));
        succeed(&mut build);
    })
}

/// A program for x86-64 whose note says that it needs this level: `baseline`, `v2`, `v3`, `v4`. It
/// runs everywhere nevertheless: all that it does is to end.
pub(crate) fn x86_64(level: &str) -> Arc<Vec<u8>> {
    let end = "mov $60, %eax\n xor %edi, %edi\n syscall\n";
    linked("x86_64", "x86-64", end, &format!("x86-64-{level}"))
}

/// A program for arm64 whose segments are aligned to so many bytes, which only ends.
pub(crate) fn arm64_aligned_to(bytes: u32) -> Arc<Vec<u8>> {
    let end = "mov x8, #93\n mov x0, #0\n svc #0\n .data\n .quad 1\n";
    linked("aarch64", "aarch64", end, &format!("max-page-size={bytes:#x}"))
}

fn linked(triplet: &str, package: &str, code: &str, setting: &str) -> Arc<Vec<u8>> {
    once(&format!("{triplet}-{setting}"), |file| {
        let (source, object) = (file.with_extension("s"), file.with_extension("o"));
        std::fs::write(&source, format!(".globl _start\n_start: {code}")).expect("a writable target folder");
        let package = format!("binutils-{package}-linux-gnu");
        let part = |name: &str| Command::new(tool(&format!("{triplet}-linux-gnu-{name}"), &package));
        succeed(part("as").arg("-o").arg(&object).arg(&source));
        succeed(part("ld").args(["-z", setting, "-o"]).arg(file).arg(&object));
    })
}

/// A program in Rust for the machine that the tests run on, which uses what this CPU has.
pub(crate) fn rust(machine: Machine, cpu: &str) -> Arc<Vec<u8>> {
    once(&format!("rust-{}-{cpu}", machine.arch), |file| {
        let source = file.with_extension("rs");
        std::fs::write(&source, "fn main() { println!(\"{}\", std::env::consts::ARCH) }\n").expect("a writable folder");
        let flags = [format!("target-cpu={cpu}"), "strip=symbols".into(), "opt-level=s".into()];
        let flags = flags.iter().flat_map(|flag| ["-C", flag]);
        succeed(Command::new(tool("rustc", "rustc")).args(flags).arg("-o").arg(file).arg(&source));
    })
}

/// Runs a program for this GOARCH and returns what it prints: by the CPU where that is its own, and
/// by an emulator elsewhere. It is started under the first of the words, with the others behind.
pub(crate) fn run(program: &[u8], arch: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(words[0]);
    std::fs::write(&file, program).expect("a writable temporary folder");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a file of ours");
    let mut command = if arch == host().arch {
        Command::new(&file)
    } else {
        let emulated = match arch {
            "386" => "i386",
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            "loong64" => "loongarch64",
            "mips64le" => "mips64el",
            same => same,
        };
        let mut emulator = Command::new(tool(&format!("qemu-{emulated}-static"), "qemu-user-static"));
        emulator.arg(&file);
        emulator
    };
    String::from_utf8(succeed(command.args(&words[1..])).stdout).expect("text")
}

/// Builds a file once in a run, whoever asks, and reads it.
fn once(name: &str, build: impl FnOnce(&Path)) -> Arc<Vec<u8>> {
    type Built = HashMap<String, Arc<OnceLock<Arc<Vec<u8>>>>>;
    static BUILT: LazyLock<Mutex<Built>> = LazyLock::new(Mutex::default);
    let cell = BUILT.lock().expect("nobody panics with it").entry(name.into()).or_default().clone();
    cell.get_or_init(|| {
        let dir = folder().join(name);
        std::fs::create_dir_all(&dir).expect("a writable target folder");
        let file = dir.join("main");
        build(&file);
        Arc::new(std::fs::read(&file).expect("it was built"))
    })
    .clone()
}

/// Where all of this lies; the compilers' caches make the next run short.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/built")
}
