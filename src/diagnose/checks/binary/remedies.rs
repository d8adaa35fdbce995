//! What can be done about it, with commands for a shell. Nothing in them comes from the image but
//! digests: names of platforms are taken from tables.

use super::Subject;
use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::shell_word;
use crate::diagnose::checks::remedies;
use crate::diagnose::finding::Remedy;
use crate::diagnose::runs::ObstacleKind;

/// Why a variant is proposed that nothing speaks for.
const UNSURE: &str = ". The program does not say which ARM it needs, and v7 is what clients take it for anyway; if it was built for less (GOARM=6, -march=armv6), say that";

/// How a config comes to say what the program is.
const BUILD: &str = "build the image for the platform of its program: --platform is what the config takes over, FROM --platform=$BUILDPLATFORM keeps the compiler on the machine that builds, and ARG TARGETOS TARGETARCH TARGETVARIANT tell it what to make";

/// What can be done about one image.
pub(super) struct Remedies<'a> {
    reference: &'a Reference,
    digest: &'a Digest,
    /// It stands in an index.
    listed: bool,
    /// What clients take the image for.
    claimed: Platform,
    architecture: &'a str,
    configured: &'a Platform,
    /// What the image should say of itself, where that has a name.
    right: Option<Platform>,
    /// Behind what is proposed.
    hedge: &'static str,
    /// The level that the program needs, where more than a hint says so.
    level: Option<&'a str>,
}

impl<'a> Remedies<'a> {
    pub(super) fn new(subject: &'a Subject<'_>) -> Self {
        let digest = &subject.contents.descriptor.digest;
        let known = subject.needs.as_ref().map_or("", |needs| needs.platform.variant.as_str());
        let mut right = subject.binary.platform();
        let mut hedge = "";
        if let Some(platform) = right.as_mut().filter(|platform| platform.architecture == "arm") {
            (platform.variant, hedge) = if known.is_empty() { ("v7".into(), UNSURE) } else { (known.into(), "") };
        }
        Self {
            reference: subject.reference,
            digest,
            claimed: subject.contents.claimed(),
            listed: !subject.contents.path.is_empty(),
            architecture: subject.binary.architecture().unwrap_or_default(),
            configured: &subject.contents.config.platform,
            right,
            hedge,
            level: Some(known).filter(|level| !level.is_empty()),
        }
    }

    /// The index says something wrong about a program that is right.
    pub(super) fn relabel(&self) -> Vec<Remedy> {
        let mut remedies = self.specify();
        remedies.push(self.build(
            "or, where the index says what was meant, build the program for that",
            &[&self.claimed.to_string()],
        ));
        remedies
    }

    /// The index says too little.
    pub(super) fn specify(&self) -> Vec<Remedy> {
        self.right.iter().map(|right| self.annotate(right)).collect()
    }

    /// The config says something wrong, and with it whoever copies it.
    pub(super) fn reconfigure(&self) -> Vec<Remedy> {
        let Some(right) = &self.right else {
            return vec![self.build("build the program for what is declared", &[&self.claimed.to_string()])];
        };
        let mut remedies = Vec::new();
        if self.claimed.same_as(self.configured) {
            let text = "where index and config say what was meant, build the program for that";
            remedies.push(self.build(text, &[&self.claimed.to_string()]));
        }
        remedies.push(self.build(BUILD, &[&right.to_string()]));
        let (image, hedge) = (self.reference.familiar(), self.hedge);
        let pinned = self.reference.with_digest(self.digest.clone()).familiar();
        if self.listed {
            if self.claimed.architecture != self.architecture {
                remedies.push(self.annotate(right));
            }
            remedies.push(
                Remedy::new(format!(
                    "or correct the config, which makes another image, and put that in the place of the entry{hedge}"
                ))
                .command(format!("crane mutate {pinned} --set-platform {right} --tag {image}-{}", right.architecture)),
            );
        } else {
            remedies.push(
                Remedy::new(format!("or correct the config, which makes another image of the same name{hedge}"))
                    .command(format!("crane mutate {pinned} --set-platform {right} --tag {image}")),
            );
        }
        remedies
    }

    fn annotate(&self, right: &Platform) -> Remedy {
        let remedy = remedies::annotate(self.reference, self.digest, right);
        Remedy { text: format!("{}{}", remedy.text, self.hedge), ..remedy }
    }

    fn build(&self, text: &str, platforms: &[&str]) -> Remedy {
        let platforms: Vec<String> = platforms.iter().map(|platform| (*platform).to_owned()).collect();
        if !self.listed {
            return Remedy::new(text).command(remedies::buildx(self.reference, &platforms));
        }
        // The same tag would lose the other images of the index.
        let image = self.reference.familiar();
        let platforms = platforms.join(",");
        let platforms = shell_word(&platforms);
        Remedy::new(format!("{text}; under a tag of its own, and then into the index beside the others"))
            .command(format!("docker buildx build --platform {platforms} -t {image}-rebuilt --push ."))
            .command(format!("lighterman manifest inspect {image}"))
    }

    /// The node was only named, and its name does not say whether it has what the program needs.
    pub(super) fn ask(&self, kind: ObstacleKind) -> Vec<Remedy> {
        let image = self.reference.familiar();
        let mut remedies = vec![
            Remedy::new("let the node say what it has: write its report there, and hold the image against that")
                .command("lighterman host --json > node.json")
                .command(format!("lighterman diagnose {image} --host node.json")),
        ];
        if let (ObstacleKind::Level, Some(level)) = (kind, self.level) {
            remedies.push(
                Remedy::new("or name the level that its CPU has; with the one that the program needs, that is")
                    .command(format!("lighterman diagnose {image} --host linux/{}/{level}", self.architecture)),
            );
        }
        remedies
    }

    /// A node cannot give what the program needs.
    pub(super) fn on_node(&self, kind: ObstacleKind, page: Option<u64>) -> Vec<Remedy> {
        match (kind, self.architecture) {
            (ObstacleKind::Level, "arm") => vec![self.build(
                "build it for the older ARM as well (Go: GOARM=6; C: a base of Raspbian or Alpine, -march=armv6)",
                &["linux/arm/v6", "linux/arm/v7"],
            )],
            (ObstacleKind::Level, "amd64") => vec![
                Remedy::new(
                    "use an image for every x86-64 (Go: GOAMD64=v1; a base of Debian or Ubuntu in the place of Enterprise Linux)",
                ),
                Remedy::new(
                    "where the node is a virtual machine, give it a CPU model that has these instructions, `host` for one, in the place of qemu64 or kvm64",
                ),
            ],
            (ObstacleKind::Level, _) => vec![
                Remedy::new("use an older version of the image or of its base, or one that is built for this CPU"),
                Remedy::new("keep it to nodes that have the level, with a node selector or a label of the nodes"),
            ],
            (ObstacleKind::Float, _) => {
                vec![self.build("use a soft-float build (Debian's armel; Go: GOARM=5)", &["linux/arm/v5"])]
            }
            (ObstacleKind::Feature, _) => {
                vec![Remedy::new("use a build that does without (Go: GOARM64=v8.0), or a node whose CPU has it")]
            }
            (ObstacleKind::OtherAbi, "loong64") => vec![
                self.build(
                    "build it with the tool-chain of the other world: GCC 12 and glibc 2.36 are the first of the new one, and Debian's loong64 is of it",
                    &["linux/loong64"],
                ),
                Remedy::new("or keep it to nodes of its own world: old-world systems have vendors' kernels, 4.19 mostly"),
            ],
            (ObstacleKind::OtherAbi, _) => vec![self.build(
                "build it with a tool-chain of the embedded ABI (arm-linux-gnueabi, arm-linux-gnueabihf), or for arm64",
                &["linux/arm/v7", "linux/arm64"],
            )],
            (ObstacleKind::PageSize, _) => {
                let relink = Remedy::new("link it for pages of up to 64 KiB, and build the image again");
                let mut remedies = vec![relink.command("export LDFLAGS='-Wl,-z,max-page-size=65536'")];
                if page == Some(16 * 1024) {
                    remedies.push(
                        Remedy::new("on a Raspberry Pi 5, take the kernel with pages of 4 KiB, and restart it")
                            .command("echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt"),
                    );
                }
                remedies
            }
        }
    }
}
