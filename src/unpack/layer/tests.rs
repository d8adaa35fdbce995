use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::*;
use crate::core::descriptor::Descriptor;
use crate::core::error::Classify;
use crate::store::staging::Extent;
use crate::unpack::workspace::Workspace;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A tar of files that need no right to be made.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_mtime(1_000_000);
        builder.append_data(&mut header, path, *content).expect("is appended");
    }
    builder.into_inner().expect("is whole")
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("compresses");
    encoder.finish().expect("compresses")
}

/// A staged blob that arrives at the test's pace.
struct Blob {
    file: Arc<File>,
    bytes: Vec<u8>,
    extent: watch::Sender<Extent>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        Self { file, bytes, extent: watch::Sender::new(Extent::Written(0)) }
    }

    fn follow(&self) -> Source {
        Source::Arriving(self.follower())
    }

    fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.file), self.bytes.len() as u64, self.extent.subscribe())
    }

    fn arrives_up_to(&self, end: usize) {
        self.file.write_all_at(&self.bytes[..end], 0).expect("writes");
        self.extent.send_replace(Extent::Written(end as u64));
    }

    fn is_whole(&self) {
        self.arrives_up_to(self.bytes.len());
        self.extent.send_replace(Extent::Verified);
    }
}

fn order(tar: &[u8]) -> Order {
    Order {
        index: 0,
        media_type: MediaType::parse(GZIP),
        size: tar.len() as u64,
        diff_id: Some(Digest::of(tar)),
        whiteouts: Whiteouts::Plain,
        limits: Limits::default(),
        budget: Budget::new(Limits::default().buffer_bytes),
        account: Account::default(),
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Grows one whole blob.
async fn grown(bytes: Vec<u8>, order: Order, folder: &Path) -> Result<Layer, LayerError> {
    let cpu = Cpu::new();
    let workspace = Workspace::open(folder, &cpu, |_| Ok(())).expect("opens");
    let blob = Blob::new(bytes);
    blob.is_whole();
    grow(&cpu, blob.follow(), order, workspace.scratch().expect("makes")).await
}

#[tokio::test]
async fn files_are_there_before_the_last_byte_has_come_and_the_verdict_is_awaited() {
    let folder = tempfile::tempdir().expect("folder");
    let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
    // More than the buffers between the stages hold, so that the first file has to be written.
    let noise: Vec<u8> = (0..4_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tar = tar(&[("first", b"cargo"), ("second", &noise)]);
    let blob = Blob::new(gzip(&tar));
    let scratch = workspace.scratch().expect("makes");
    let path = scratch.path().to_owned();
    let cpu = Cpu::new();
    let growing = tokio::spawn({
        let (source, order) = (blob.follow(), order(&tar));
        async move { grow(&cpu, source, order, scratch).await }
    });
    blob.arrives_up_to(blob.bytes.len() - 9);
    while std::fs::read(path.join("first")).ok().as_deref() != Some(b"cargo") {
        tokio::task::yield_now().await;
    }
    blob.arrives_up_to(blob.bytes.len());
    assert!(!growing.is_finished(), "nobody has said that the digest held");
    blob.is_whole();
    let layer = growing.await.expect("no panic").expect("is proven");
    assert_eq!(names(layer.scratch.path()), ["first", "second"]);
    assert!(std::fs::read(path.join("second")).expect("reads") == noise);
    drop(layer);
    assert!(!path.exists(), "nobody wanted the tree");
}

#[tokio::test]
async fn what_cannot_be_proven_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let tar = tar(&[("etc/passwd", b"root:x:0:0"), ("etc/group", &[7; 100_000])]);
    let whole = gzip(&tar);
    let cut = whole[..whole.len() - 20].to_vec();
    let other = Order { diff_id: Some(Digest::of(b"another tar")), ..order(&tar) };
    let garbage = b"no tar at all, and not a whole block either".to_vec();
    let errors = [
        grown(whole, other, folder.path()).await,
        grown(cut, order(&tar), folder.path()).await,
        grown(garbage.clone(), order(&garbage), folder.path()).await,
    ]
    .map(|result| result.map(drop).expect_err("is refused"));
    assert!(matches!(&errors[0], LayerError::DiffId { actual, .. } if *actual == Digest::of(&tar)), "{errors:?}");
    assert!(matches!(&errors[1], LayerError::Inflate(InflateError::Truncated { .. })), "{errors:?}");
    assert!(matches!(&errors[2], LayerError::Archive(_)), "{errors:?}");
    let unpack_error = crate::unpack::UnpackError::of_layer(&Digest::of(b""), LayerError::CutOff);
    assert_eq!(unpack_error.kind(), crate::core::error::Kind::Internal);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn wrong_bytes_end_the_layer_even_after_its_last_entry() {
    let folder = tempfile::tempdir().expect("folder");
    let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
    let tar = tar(&[("file", b"cargo")]);
    let blob = Blob::new(gzip(&tar));
    blob.arrives_up_to(blob.bytes.len());
    blob.extent.send_replace(Extent::Discarded);
    let scratch = workspace.scratch().expect("makes");
    let result = grow(&Cpu::new(), blob.follow(), order(&tar), scratch).await;
    assert!(matches!(result, Err(LayerError::Follow(FollowError::Discarded))), "{result:?}");
}

#[tokio::test]
async fn nonsense_is_only_the_publishers_once_the_digest_held() {
    let folder = tempfile::tempdir().expect("folder");
    let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
    let tar = tar(&[("file", &b"cargo".repeat(10_000))]);
    let mut wrong = gzip(&tar);
    wrong[30] ^= 0xff;
    let blob = Blob::new(wrong);
    blob.arrives_up_to(blob.bytes.len());
    let growing = tokio::spawn({
        let (source, order, scratch) = (blob.follow(), order(&tar), workspace.scratch().expect("makes"));
        async move { grow(&Cpu::new(), source, order, scratch).await.map(drop) }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!growing.is_finished(), "nobody knows yet whose bytes they are");
    blob.extent.send_replace(Extent::Discarded);
    let result = growing.await.expect("no panic");
    assert!(matches!(result, Err(LayerError::Follow(FollowError::Discarded))), "{result:?}");
}

#[tokio::test]
async fn a_layer_that_the_store_has_is_read_from_there() {
    let folder = tempfile::tempdir().expect("folder");
    let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
    let tar = tar(&[("file", b"cargo")]);
    let source = Source::Stored(Box::pin(std::io::Cursor::new(gzip(&tar))));
    let layer = grow(&Cpu::new(), source, order(&tar), workspace.scratch().expect("makes")).await.expect("grows");
    assert_eq!(std::fs::read(layer.scratch.path().join("file")).expect("reads"), b"cargo");
}

#[tokio::test]
async fn a_window_is_reserved_where_the_bytes_ask_for_one_whatever_their_type() {
    let zstd = zstd::encode_all(&b"cargo"[..], 1).expect("compresses");
    let skippable = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc", &zstd].concat();
    let cases = [
        (GZIP, zstd.clone(), most_buffers()),
        (GZIP, skippable, most_buffers()),
        (GZIP, gzip(b"cargo"), with_window(0)),
        (GZIP, b"x".to_vec(), with_window(0)),
        (GZIP, Vec::new(), with_window(0)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", gzip(b"cargo"), with_window(0)),
        ("application/vnd.oci.image.layer.v1.tar", zstd, with_window(0)),
    ];
    for (number, (kind, bytes, expected)) in cases.into_iter().enumerate() {
        let blob = Blob::new(bytes);
        blob.is_whole();
        let found = buffers(&MediaType::parse(kind), blob.follower()).await.expect("is there");
        assert_eq!(found, expected, "case {number}");
    }
}

#[tokio::test]
async fn the_least_budget_holds_any_layer() {
    let budget = Budget::new(Limits::LEAST_BUFFER_BYTES);
    let _layer = budget.reserve(most_buffers()).await;
    assert!(futures_util::FutureExt::now_or_never(budget.reserve(1)).is_some(), "a layer holds more than it reserves");
}

#[tokio::test]
async fn what_is_no_archive_is_known_without_making_anything_of_it() {
    let tar = tar(&[("file", &b"cargo".repeat(100_000))]);
    let zstd = zstd::encode_all(&tar[..], 1).expect("compresses");
    let cut = |whole: &[u8]| whole[..whole.len() - 9].to_vec();
    let cases = [
        (gzip(&tar), false),
        (zstd.clone(), false),
        (tar.clone(), false),
        (cut(&gzip(&tar)), true),
        (cut(&zstd), true),
        (gzip(&tar[..700]), true),
        (gzip(b"no tar at all"), true),
    ];
    for (number, (bytes, damaged)) in cases.into_iter().enumerate() {
        let source = Source::Stored(Box::pin(std::io::Cursor::new(bytes)));
        let (limits, budget) = (Limits::default(), Budget::new(Limits::default().buffer_bytes));
        let checked = check(&Cpu::new(), source, &MediaType::parse(GZIP), &limits, &budget).await;
        assert_eq!(checked.as_ref().is_err_and(LayerError::is_damage), damaged, "case {number}: {checked:?}");
        assert_eq!(checked.is_err(), damaged);
    }
}

#[tokio::test]
async fn bytes_of_no_repute_prove_themselves_at_their_end() {
    let tar = tar(&[("file", b"content")]);
    let blob = gzip(&tar);
    let whole = Descriptor::new(MediaType::parse(GZIP), Digest::of(&blob), blob.len() as u64);
    let longer = Descriptor { size: whole.size + 1, ..whole.clone() };
    let shorter = Descriptor { size: whole.size - 1, ..whole.clone() };
    let other = Descriptor { digest: Digest::of(b"other"), ..whole.clone() };
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
    let path = folder.path().join("blob");
    let mut lost = blob.clone();
    lost[20] ^= 0xff;
    let cases = [(&blob, whole.clone(), true), (&blob, longer, false), (&blob, shorter, false), (&blob, other, false)];
    // It does not even inflate, and that is due to whoever kept it.
    for (blob, descriptor, is_right) in cases.into_iter().chain([(&lost, whole, false)]) {
        std::fs::write(&path, blob).expect("writes");
        let file = Unproven::file(File::open(&path).expect("opens"), &descriptor);
        let stream = Unproven::stream(Box::pin(std::io::Cursor::new(blob.clone())), &descriptor);
        for bytes in [file, stream] {
            let order = Order { diff_id: None, ..order(&tar) };
            let scratch = workspace.scratch().expect("makes");
            match grow(&Cpu::new(), Source::Unproven(bytes), order, scratch).await {
                Ok(layer) => {
                    assert!(is_right, "{descriptor:?}");
                    assert_eq!((layer.diff_id, layer.tar_bytes), (Digest::of(&tar), tar.len() as u64));
                    assert_eq!(names(layer.scratch.path()), ["file"]);
                }
                Err(error) => {
                    assert!(!is_right, "{error}");
                    let error = crate::unpack::UnpackError::of_layer(&descriptor.digest, error);
                    // What a store has, it has taken after a look.
                    assert_eq!(error.kind(), Kind::StoreFailed, "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn few_bytes_that_become_very_many_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let limits = Limits { inflation_free: 1 << 20, inflation_times: 20, ..Limits::default() };
    let noise: Vec<u8> = (0..500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (content, fits) in [(vec![0; 3 << 20], false), (vec![0; 1 << 19], true), (noise, true)] {
        let tar = tar(&[("file", &content)]);
        let blob = gzip(&tar);
        let order = Order { limits, size: blob.len() as u64, ..order(&tar) };
        let result = grown(blob, order, folder.path()).await.map(drop);
        match result {
            Ok(()) => assert!(fits),
            Err(error @ LayerError::Inflated { limit, .. }) => {
                assert!(!fits && limit == 1 << 20, "{error}");
                assert!(error.depends_on_the_bytes() && !error.is_for_want_of_memory() && !error.is_damage());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(names(folder.path()), [""; 0], "something is left");
}
