//! The dynamic loader that a program asks for, and what there is in its place.

use super::{beginning, error};
use crate::core::elf::{Binary, Class, Interpreter, Libc, LoongArchWorld};
use crate::diagnose::contents::{Loader, LoaderFound, OtherLoader};
use crate::diagnose::evidence::of_file;
use crate::diagnose::finding::{Finding, Id, Remedy};
use crate::diagnose::loaders;
use crate::diagnose::rootfs::File;

/// Program and base do not fit together.
const ONE_PLATFORM: &str = "program and base image are for different architectures: build both for one platform";

pub(super) fn check(loader: &Loader, file: &File, binary: &Binary) -> Option<Finding> {
    let (program, asked) = (&file.asked, &loader.asked);
    match &loader.found {
        LoaderFound::NotRead(_) => None,
        LoaderFound::Elf(found, its) => {
            let same = (its.machine, its.class, its.endianness) == (binary.machine, binary.class, binary.endianness);
            (!same).then(|| {
                error(Id::LoaderArch, format!("{program} is {binary}, and its loader {asked} is {its}"))
                    .shown_by(beginning(file, format!("{program} begins with")))
                    .shown_by(beginning(found, format!("{asked} begins with")))
                    .mended_by(
                        Remedy::new(ONE_PLATFORM)
                            .command("docker buildx build --platform linux/amd64,linux/arm64 -t IMAGE --push ."),
                    )
            })
        }
        LoaderFound::Foreign(found) => Some(
            error(Id::LoaderMissing, format!("{program} needs the loader {asked}, which is there and no binary"))
                .shown_by(beginning(found, format!("{asked} begins with")))
                .mended_by(Remedy::new("build the image again: a step of it has overwritten the loader")),
        ),
        LoaderFound::Absent { others } => Some(missing(asked, others, (file, binary))),
    }
}

fn missing(asked: &str, others: &[OtherLoader], (file, binary): (&File, &Binary)) -> Finding {
    let program = &file.asked;
    let wanted = binary.interpreter.libc();
    let own = |other: &&OtherLoader| other.architecture == binary.architecture();
    let (why, remedy) = match others.iter().find(own) {
        _ if others.is_empty() => (String::new(), without_library(wanted)),
        None => another_architecture(asked, others, binary),
        Some(other) => another_library(wanted, other, binary),
    };
    let message = format!(
        "{program} needs the loader {asked}, which is not in the image: starting it ends in \"no such file or directory\"{why}"
    );
    let evidence = of_file(file, format!("PT_INTERP of {program}: {asked}"));
    let static_build =
        Remedy::new("or link it statically, so that it needs no loader").command("CGO_ENABLED=0 go build");
    error(Id::LoaderMissing, message).shown_by(evidence).mended_by(remedy).mended_by(static_build)
}

fn without_library(wanted: Option<Libc>) -> Remedy {
    let base = if wanted == Some(Libc::Musl) { "alpine" } else { "debian:stable-slim" };
    Remedy::new(format!("there is no C library in the image: start FROM one that has it, as {base}"))
}

/// The image has the C library of another architecture.
fn another_architecture(asked: &str, others: &[OtherLoader], binary: &Binary) -> (String, Remedy) {
    let names = |other: &OtherLoader| match other.architecture {
        Some(architecture) => format!("{} ({architecture})", other.path),
        None => other.path.clone(),
    };
    let why = format!("; the image has {}", others.iter().map(names).collect::<Vec<_>>().join(", "));
    // 64-bit systems run 32-bit programs beside their own, where the library is installed.
    let host = others.iter().find_map(|other| other.architecture);
    let is_guest = matches!((host, binary.architecture()), (Some("amd64"), Some("386")) | (Some("arm64"), Some("arm")));
    let port =
        loaders::known(asked).and_then(|loader| loader.port).filter(|_| is_guest && binary.class == Class::Elf32);
    let remedy = match port {
        Some(port) => Remedy::new(format!("install the C library of {port} beside the other one; in the Dockerfile"))
            .command(format!(
                "RUN dpkg --add-architecture {port} && apt-get update && apt-get install -y libc6:{port}"
            )),
        None => Remedy::new(ONE_PLATFORM),
    };
    (why, remedy)
}

/// The image is for the right architecture, and its C library is another one.
fn another_library(wanted: Option<Libc>, other: &OtherLoader, binary: &Binary) -> (String, Remedy) {
    let inside = |base: &str| Remedy::new(format!("build it inside the same base image, or start FROM {base}"));
    let has = Interpreter::Path(other.path.clone()).libc();
    match (wanted, has) {
        (Some(Libc::Glibc), Some(Libc::Musl)) => (
            "; it was built against glibc, and the image has musl (Alpine)".into(),
            inside("one with glibc, as debian:stable-slim"),
        ),
        (Some(Libc::Musl), Some(Libc::Glibc)) => {
            ("; it was built against musl (Alpine), and the image has glibc".into(), inside("alpine"))
        }
        _ if binary.loongarch_world() == Some(LoongArchWorld::Old) => (
            format!("; it is of LoongArch's old world, and the image, with {}, of the new one", other.path),
            inside("one of the old world; current tool-chains build for the new one"),
        ),
        _ => (
            format!("; the image has {}, which is of another calling convention", other.path),
            Remedy::new("build it inside the same base image, with the compiler that is there"),
        ),
    }
}
