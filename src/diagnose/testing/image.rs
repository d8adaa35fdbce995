//! Images with one program, for the tests of what is said about programs.

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::elf::Program;
use crate::core::elf::sample::Sample;
use crate::core::extract::Extract;
use crate::core::manifest::{ImageConfig, Manifest};
use crate::core::platform::Platform;
use crate::diagnose::contents::{By, Chain, Contents, Distribution, Next, Start, Step, What};
use crate::diagnose::rootfs::{Cost, File};
use crate::host::{Depth, HostReport, Recorded, detect};

/// `arm/v6` of Linux, spelt as it stands.
pub(in crate::diagnose) fn platform(text: &str) -> Platform {
    let (architecture, variant) = text.split_once('/').unwrap_or((text, ""));
    Platform::linux(architecture, variant)
}

/// What an image starts that has this binary, all of it read.
pub(crate) fn starting(asked: &str, path: &str, bytes: Vec<u8>) -> Start {
    let Ok(Program::Elf(binary)) = Program::parse(&bytes) else { panic!("a binary") };
    let file = File {
        asked: asked.into(),
        path: path.into(),
        layer: Digest::of(b"layer"),
        mode: 0o755,
        content: Extract::whole(bytes),
        verified: true,
        certain: true,
    };
    Start {
        argv: vec![asked.into()],
        first: Chain { steps: vec![Step { file, what: What::Elf(Box::new(binary)) }], stopped: None, loader: None },
        next: Vec::new(),
        others: Vec::new(),
        distribution: None,
        no_directory: None,
        cost: Cost::default(),
    }
}

/// An image whose index and config agree on a platform, and that starts this program.
pub(in crate::diagnose) fn image(claimed: &str, program: &Sample) -> Contents {
    let start = starting("app", "/usr/bin/app", program.bytes());
    let descriptor = Descriptor::new(MediaType::OciManifest, Digest::of(b"manifest"), 1);
    let config = Descriptor::new(MediaType::OciConfig, Digest::of(b"config"), 1);
    Contents {
        path: vec![1],
        descriptor: Descriptor { platform: Some(platform(claimed)), ..descriptor },
        manifest: Manifest { config, layers: Vec::new(), annotations: Default::default() },
        config: ImageConfig { platform: platform(claimed), ..ImageConfig::default() },
        start: Some(start),
    }
}

/// The same, where that program starts another one for certain.
pub(in crate::diagnose) fn then(mut image: Contents, path: &str, program: &Sample) -> Contents {
    let Start { argv, first: chain, .. } = starting(path, path, program.bytes());
    let way = format!("app -> {path}");
    let next = Next { by: By::Starter, way, argv, certain: true, renamed: false, chain };
    image.start.as_mut().expect("an image with a program").next.push(next);
    image
}

/// The same, with another word in the config.
pub(in crate::diagnose) fn configured(mut image: Contents, config: &str) -> Contents {
    image.config.platform = platform(config);
    image
}

/// The same as a lone manifest, which no index describes.
pub(in crate::diagnose) fn alone(mut image: Contents) -> Contents {
    image.path.clear();
    image.descriptor.platform = None;
    image
}

/// The same on a distribution.
pub(in crate::diagnose) fn on(mut image: Contents, id: &str, version: &str) -> Contents {
    let distribution = Distribution {
        id: id.into(),
        like: Vec::new(),
        version: version.into(),
        name: format!("{id} {version}"),
        layer: Digest::of(b"base"),
        verified: true,
    };
    image.start.as_mut().expect("an image with a program").distribution = Some(distribution);
    image
}

/// What a machine runs, without emulators.
pub(in crate::diagnose) fn host(board: &Recorded) -> HostReport {
    detect(board, Depth::Full)
}
