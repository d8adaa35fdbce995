use std::collections::BTreeSet;

use super::*;
use crate::core::elf;
use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig, Index, Manifest};
use crate::diagnose::entrypoint;
use crate::diagnose::rootfs::layers::{Effort, Layers};
use crate::diagnose::rootfs::{File, Look, RootFs as _};
use crate::diagnose::testing::Shelf;

struct Built {
    _folder: tempfile::TempDir,
    directory: PathBuf,
    images: Images,
}

fn built() -> Built {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("layout");
    let images = build(&directory).expect("a layout");
    Built { _folder: folder, directory, images }
}

impl Built {
    fn blob(&self, descriptor: &Descriptor) -> Vec<u8> {
        let bytes =
            fs::read(self.directory.join("blobs/sha256").join(descriptor.digest.hex())).expect("the blob exists");
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (descriptor.digest.clone(), descriptor.size));
        bytes
    }

    fn index(&self, descriptor: &Descriptor) -> Index {
        match Document::parse(&self.blob(descriptor), Some(&descriptor.media_type), &Limits::default()) {
            Ok(Document::Index(index)) => index,
            other => panic!("expected an index, got {other:?}"),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Manifest {
        match Document::parse(&self.blob(descriptor), Some(&descriptor.media_type), &Limits::default()) {
            Ok(Document::Manifest(manifest)) => manifest,
            other => panic!("expected a manifest, got {other:?}"),
        }
    }

    /// Config of an image, and its program, found as `inspect` finds it.
    fn image(&self, descriptor: &Descriptor) -> (ImageConfig, File) {
        let manifest = self.manifest(descriptor);
        let config = ImageConfig::parse(&self.blob(&manifest.config), &Limits::default()).expect("a config");
        assert_eq!(config.rootfs.diff_ids.len(), manifest.layers.len());
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let mut tar = Vec::new();
            let packed = self.blob(layer);
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut tar).expect("gzip");
            assert_eq!(&Digest::of(&tar), diff_id);
        }
        let mut shelf = Shelf::local(manifest.layers.iter().map(|layer| self.blob(layer)));
        let mut files =
            Layers::new(&manifest.layers, config.layer_commands(), &mut shelf, Effort::default()).expect("blobs");
        match files.look(&entrypoint::candidates(&config)).expect("readable layers") {
            Look::File(file) => (config, file),
            other => panic!("expected a program, got {other:?}"),
        }
    }
}

fn architecture(found: &File) -> String {
    match elf::Program::parse(found.content.prefix()) {
        Ok(elf::Program::Elf(binary)) => binary.architecture().expect("a known machine").into(),
        other => panic!("expected an ELF binary, got {other:?}"),
    }
}

#[test]
fn hello_holds_what_it_says() {
    let built = built();
    let index = built.index(&built.images.hello);
    let (attestations, images): (Vec<_>, Vec<_>) = index.manifests.iter().partition(|entry| entry.is_attestation());
    assert_eq!(attestations.len(), 1);
    built.manifest(attestations[0]);
    let mut seen = Vec::new();
    for entry in &images {
        let declared = entry.platform.as_ref().expect("every image names its platform");
        let (config, found) = built.image(entry);
        assert_eq!(&config.platform, declared);
        assert_eq!(architecture(&found), declared.architecture);
        assert_eq!((found.path.as_str(), found.mode, found.content.is_whole()), (PROGRAM, 0o755, true));
        seen.push(declared.to_string());
    }
    assert_eq!(seen, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
    let shared: BTreeSet<_> = images.iter().map(|entry| built.manifest(entry).layers[0].digest.clone()).collect();
    assert_eq!(shared.len(), 1, "the cargo layer is the same for every platform");
}

#[test]
fn mislabelled_is_wrong_in_the_classic_way() {
    let built = built();
    let index = built.index(&built.images.mislabelled);
    assert_eq!(index.manifests.len(), 2);
    assert_eq!(architecture(&built.image(&index.manifests[0]).1), "amd64");
    let (config, found) = built.image(&index.manifests[1]);
    let declared = index.manifests[1].platform.as_ref().expect("a platform");
    assert_eq!((declared.to_string(), config.platform.to_string()), ("linux/arm64".into(), "linux/arm64".into()));
    assert_eq!(architecture(&found), "arm");
}

#[test]
fn every_run_makes_the_same_images() {
    let (first, second) = (built(), built());
    assert_eq!(first.images, second.images);
    let index = |built: &Built| fs::read_to_string(built.directory.join("index.json")).expect("an index");
    assert_eq!(index(&first), index(&second));
    let names = index(&first);
    assert!(names.contains(HELLO) && names.contains(MISLABELLED), "{names}");
}

#[test]
fn says_what_it_could_not_write() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = build(&file.path().join("layout")).expect_err("a file is no folder");
    assert!(matches!(error, DemoError::File { action: "create", .. }), "{error}");
}
