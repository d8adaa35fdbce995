//! What can be done about it, with commands for a shell. `REF` stands for the image's name.

use super::super::super::contents::Contents;
use super::super::super::finding::Remedy;
use super::super::super::needs::Needs;
use super::super::super::runs::{Obstacle, ObstacleKind};
use crate::core::elf::Binary;
use crate::core::platform::Platform;

/// The index says something wrong about a program that is right.
pub(super) fn relabel(contents: &Contents, binary: &Binary, needs: Option<&Needs>) -> Vec<Remedy> {
    let Some((right, sure)) = right(binary, needs) else { return vec![compile(None)] };
    let digest = &contents.descriptor.digest;
    let variant = match right.variant.as_str() {
        "" => "--clear-variant".to_owned(),
        variant => format!("--variant {variant}"),
    };
    let podman = if right.variant.is_empty() { String::new() } else { format!(" --variant {}", right.variant) };
    let arch = &right.architecture;
    let hedge = if sure { "" } else { UNSURE };
    vec![
        Remedy::new(format!("correct the entry of the index; the program stays as it is. Without --push nothing is written, and the change and the same for other tools are shown{hedge}"))
            .command(format!("lighterman manifest annotate REF --entry {digest} --arch {arch} {variant} --push")),
        Remedy::new("the same with podman")
            .command("podman manifest create fixed && podman manifest add --all fixed docker://REF")
            .command(format!("podman manifest annotate --arch {arch}{podman} fixed {digest}"))
            .command("podman manifest push --all fixed docker://REF"),
        compile(Some(&right)),
    ]
}

/// The config says something wrong, and with it whoever copies it.
pub(super) fn rebuild(contents: &Contents, binary: &Binary, needs: Option<&Needs>) -> Vec<Remedy> {
    let Some((right, sure)) = right(binary, needs) else { return vec![compile(None)] };
    let digest = &contents.descriptor.digest;
    let hedge = if sure { "" } else { UNSURE };
    let mut remedies = vec![compile(Some(&right))];
    let alone = contents.path.is_empty();
    let target = if alone { "REF" } else { "REF-fixed" };
    remedies.push(
        Remedy::new(format!("correct the platform in the config, which gives the image another digest{hedge}"))
            .command(format!("crane mutate --set-platform {right} REF@{digest} --tag {target}")),
    );
    if !alone {
        let mut entry = relabel(contents, binary, needs);
        entry.truncate(1);
        remedies.extend(entry);
    }
    remedies
}

const UNSURE: &str = ". The program does not say which ARM it needs: v7 is what clients take it for anyway. If it was built for an older one (GOARM=6, -march=armv6), say that";

/// What should be declared, and whether the variant is known.
fn right(binary: &Binary, needs: Option<&Needs>) -> Option<(Platform, bool)> {
    let built_for = binary.platform()?;
    if built_for.architecture != "arm" {
        return Some((built_for, true));
    }
    let known = needs.map(|needs| needs.platform.variant.clone()).filter(|variant| !variant.is_empty());
    let sure = known.is_some();
    Some((Platform { variant: known.unwrap_or_else(|| "v7".into()), ..built_for }, sure))
}

fn compile(right: Option<&Platform>) -> Remedy {
    let text = "or build it anew for its platform: FROM --platform=$BUILDPLATFORM for the compiler, ARG TARGETARCH TARGETVARIANT for what it makes";
    let platform = right.map_or_else(|| "PLATFORM".into(), Platform::to_string);
    Remedy::new(text).command(format!("docker buildx build --platform {platform} --tag REF --push ."))
}

/// The node cannot give what the program needs.
pub(super) fn on_node(obstacle: &Obstacle, architecture: &str, page: u64) -> Vec<Remedy> {
    match (obstacle.kind, architecture) {
        (ObstacleKind::Level, "arm") => vec![
            Remedy::new("build it for the older ARM as well (Go: GOARM=6; C: a base such as Raspbian or Alpine's armhf, -march=armv6), and list both in the index")
                .command("docker buildx build --platform linux/arm/v6,linux/arm/v7 --tag REF --push ."),
        ],
        (ObstacleKind::Level, "amd64") => vec![
            Remedy::new("use an image that is built for every x86-64 (Go: GOAMD64=v1; a Debian or Ubuntu base in the place of Enterprise Linux)"),
            Remedy::new("where the node is a virtual machine, give it a CPU model with these instructions: `host` or `x86-64-v3` of QEMU in the place of qemu64 and kvm64"),
        ],
        (ObstacleKind::Level, _) => vec![
            Remedy::new("use an older version of the image or its base, or one that is built for this CPU"),
            Remedy::new("keep the image to nodes that have this level, for one with a node selector"),
        ],
        (ObstacleKind::Float, _) => vec![Remedy::new("use a soft-float build (Debian's armel; Go: GOARM=5)")],
        (ObstacleKind::Feature | ObstacleKind::LevelUnknown, _) => {
            vec![Remedy::new("use a build that does without (Go: GOARM64=v8.0), or a node whose CPU has it")]
        }
        (ObstacleKind::OldAbi, _) => vec![
            Remedy::new("build it with a tool-chain of the embedded ABI (arm-linux-gnueabi or gnueabihf), or for arm64")
                .command("docker buildx build --platform linux/arm/v7,linux/arm64 --tag REF --push ."),
        ],
        (ObstacleKind::PageSize, _) => {
            let mut remedies = vec![
                Remedy::new("link it for pages of up to 64 KiB").command("export LDFLAGS='-Wl,-z,max-page-size=65536'"),
            ];
            if page == 16 * 1024 {
                remedies.push(
                    Remedy::new("on a Raspberry Pi 5, take the kernel with pages of 4 KiB, and start it anew")
                        .command("echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt"),
                );
            }
            remedies
        }
    }
}
