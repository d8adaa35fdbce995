//! Images for the tests of this room, put together without a registry.

use super::contents::Contents;
use super::fleet::Image;
use super::testing::image::starting;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::elf;
use crate::core::limits::Limits;
use crate::core::manifest::{ImageConfig, Manifest};
use crate::core::platform::Platform;
use crate::core::select::{Entry, EntryPath, Inner};

/// `arm/v6`, `windows:amd64` or `unknown`, spelt as they stand.
pub(super) fn platform(text: &str) -> Platform {
    let (os, rest) =
        text.split_once(':').unwrap_or(if text == "unknown" { ("unknown", text) } else { ("linux", text) });
    let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
    Platform { os: os.into(), ..Platform::linux(architecture, variant) }
}

/// An image as far as it was read.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) root: Descriptor,
    pub(super) entries: Vec<Entry>,
    pub(super) contents: Vec<Contents>,
}

impl Sample {
    /// An empty index.
    pub(super) fn index() -> Self {
        let root = Descriptor::new(MediaType::OciIndex, Digest::of(b"root"), 1);
        Self { root, entries: Vec::new(), contents: Vec::new() }
    }

    /// A lone manifest whose config names this platform.
    pub(super) fn lone(config: &str) -> Self {
        let root = Descriptor::new(MediaType::OciManifest, Digest::of(b"root"), 1);
        let contents = vec![contents(Vec::new(), &root, config)];
        Self { root, entries: Vec::new(), contents }
    }

    /// With one more entry, looked into as far as its config.
    pub(super) fn with(mut self, declared: Option<&str>, config: &str) -> Self {
        let position = self.entries.len();
        let entry = image(&format!("manifest {position}"), declared, config);
        self.contents.push(contents(vec![position], &entry.descriptor, config));
        self.entries.push(entry);
        self
    }

    /// With one more entry that declares what its config names.
    pub(super) fn of(self, platform: &str) -> Self {
        self.with(Some(platform), platform)
    }

    /// With such entries.
    pub(super) fn all(self, platforms: &[&str]) -> Self {
        platforms.iter().fold(self, |sample, platform| sample.of(platform))
    }

    /// The last entry's program is of this architecture.
    pub(super) fn holding(mut self, architecture: &str) -> Self {
        let last = self.contents.last_mut().expect("an image");
        last.start = Some(starting("/app", "/app", elf::sample::Sample::of(architecture).bytes()));
        self
    }

    /// With what BuildKit puts beside each image.
    pub(super) fn attested(mut self) -> Self {
        let mut entry = image(&format!("attestation {}", self.entries.len()), Some("unknown"), "unknown");
        let kind = ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
        entry.descriptor.annotations.extend([kind]);
        self.entries.push(Entry { inner: Inner::Unread, ..entry });
        self
    }

    /// With an index of such entries inside the index.
    pub(super) fn nested(mut self, platforms: &[&str]) -> Self {
        let inner = platforms.iter().map(|text| image(&format!("nested {text}"), Some(text), text)).collect();
        let descriptor = Descriptor::new(MediaType::OciIndex, Digest::of(b"nested"), 1);
        self.entries.push(Entry { descriptor, inner: Inner::Nested(inner) });
        self
    }

    pub(super) fn image(&self) -> Image<'_> {
        Image { root: &self.root, entries: &self.entries, contents: &self.contents }
    }
}

fn image(name: &str, declared: Option<&str>, config: &str) -> Entry {
    let descriptor = Descriptor::new(MediaType::OciManifest, Digest::of(name.as_bytes()), 1);
    let descriptor = Descriptor { platform: declared.map(platform), ..descriptor };
    Entry { descriptor, inner: Inner::Config(platform(config)) }
}

fn contents(path: EntryPath, descriptor: &Descriptor, config: &str) -> Contents {
    let named = Descriptor::new(MediaType::OciConfig, Digest::of(config.as_bytes()), 1);
    let manifest = Manifest { config: named, layers: Vec::new(), annotations: Default::default() };
    let config =
        ImageConfig { platform: platform(config), ..ImageConfig::parse(b"{}", &Limits::default()).expect("a config") };
    Contents { path, descriptor: descriptor.clone(), manifest, config, start: None }
}
