//! One layer onto mounts that a containerd prepared, in the place of its own differ.
//!
//! The result is what containerd's own applier makes of them, in every file. It is written where
//! it is to be: whoever prepared the mounts makes a snapshot of them only once he is told that
//! all went well. Until then a failure leaves the directory as empty as it was found, so
//! that another differ can do what this one could not, and a directory that is not empty
//! is not touched at all.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use containerd_client::types::Mount;
use rustix::fs::{Mode, OFlags};

use super::super::archive::ArchiveError;
use super::super::layer::{self, Layer, LayerError, Order, Source, Unproven};
use super::super::options::Durability;
use super::super::plan::is_tar;
use super::super::tree::{self, Account, RootMeta, TreeError};
use super::mounts::{Site, site};
use super::{UnpackError, overlay};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Blame, Classify, Kind};
use crate::fetch::Engine;
use crate::store::containerd::Containerd;
use crate::store::{Store, StoreError};

/// A layer in containerd's content store, and where it is to be extracted.
#[derive(Debug, Clone)]
pub struct Application {
    /// The layer.
    pub layer: Descriptor,
    /// As a snapshotter prepared them.
    pub mounts: Vec<Mount>,
    /// Whether it has to be on the disk before this is over, as far as the caller asks for it.
    pub durability: Durability,
}

/// The tar of a layer that was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its digest: the diffID.
    pub diff_id: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Why a layer was not extracted.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing that this differ does. The mounts are as they were, for another to try.
    #[error("lighterman leaves this layer to others: {0}")]
    NotTaken(String),
    /// Somebody else has layers extracted into the same place, which no other differ must join.
    #[error("another layer is being extracted into {}", dir.display())]
    Taken {
        /// Where.
        dir: PathBuf,
    },
    /// The layer, or the place for it, is no good.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Unpack(error.into())
    }
}

impl From<String> for ApplyError {
    fn from(reason: String) -> Self {
        Self::NotTaken(reason)
    }
}

impl Classify for ApplyError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotTaken(_) => Kind::Unsupported,
            Self::Taken { .. } => Kind::StoreInvalid,
            Self::Unpack(error) => error.kind(),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::NotTaken(_) => self.kind().blame(),
            Self::Taken { .. } => Blame::Caller,
            Self::Unpack(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotTaken(_) => Some("name containerd's own differ \"walking\" after this one".into()),
            Self::Taken { .. } => Some("prepare a snapshot for each layer".into()),
            Self::Unpack(error) => error.hint(),
        }
    }
}

impl Application {
    /// Extracts the layer with the threads and the memory of `engine`. Dropping this stops it,
    /// and clears away what is there.
    ///
    /// # Errors
    /// [`ApplyError`]; [`ApplyError::NotTaken`] only where the mounts are as they were.
    pub async fn run(self, store: &Containerd, engine: &Engine) -> Result<Applied, ApplyError> {
        let Self { layer: blob, mounts, durability } = self;
        if !is_tar(&blob.media_type) {
            return Err(format!("its media type is {:?}", blob.media_type.to_string()).into());
        }
        let site = site(&mounts)?;
        let bytes = open(store, &blob).await?;
        let _buffers = engine.budget().reserve(bytes.buffers(&blob.media_type)).await;
        let order = Order {
            index: 0,
            media_type: blob.media_type.clone(),
            size: blob.size,
            diff_id: None,
            whiteouts: site.whiteouts,
            limits: *engine.limits(),
            budget: engine.budget().clone(),
            // containerd does not say which layers are of one image.
            account: Account::default(),
        };
        let dir = site.dir.clone();
        let target = blocking(move || Target::open(site)).await?;
        let grown = layer::grow(engine.cpu(), Source::Unproven(bytes), order, target).await;
        let finished = match grown {
            Ok(grown) => blocking(move || finish(grown, durability)).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(applied) => Ok(applied),
            // Whoever tries next must not take what is left of this try for his own.
            Err(error) if is_left_to_others(&error) && is_clear(dir).await => {
                Err(ApplyError::NotTaken(error.to_string()))
            }
            Err(error) => Err(UnpackError::of_layer(&blob.digest, error).into()),
        }
    }
}

/// Whether nothing is left of a try.
async fn is_clear(dir: PathBuf) -> bool {
    blocking(move || Ok::<_, StoreError>(is_empty(&dir).unwrap_or(false))).await.unwrap_or(false)
}

/// The bytes of a layer: where they lie, or as containerd sends them.
/// Where neither is there, somebody else may know better.
async fn open(store: &Containerd, blob: &Descriptor) -> Result<Unproven, String> {
    let refused = |error: StoreError| error.to_string();
    if let Some(file) = store.content_file(blob).await.map_err(refused)? {
        return Ok(Unproven::file(file, blob));
    }
    match store.open(blob).await.map_err(refused)? {
        Some(reader) => Ok(Unproven::stream(reader, blob)),
        None => Err(format!("{} is not in the namespace {}", blob.digest, store.namespace())),
    }
}

/// A directory that is filled by nobody else. What is in it goes when this is dropped, unless it
/// is kept.
#[derive(Debug)]
struct Target {
    site: Site,
    is_kept: bool,
    /// Locked until all of that is over.
    folder: File,
}

impl Target {
    fn open(site: Site) -> Result<Self, ApplyError> {
        let odd = |reason: &str| ApplyError::NotTaken(format!("{}: {reason}", site.dir.display()));
        if overlay::in_user_namespace() {
            return Err(odd("this is a user namespace"));
        }
        // containerd may see another file system than we do, and everybody else should see none.
        let around = site.dir.parent().ok_or_else(|| odd("it is the root"))?;
        overlay::check_owner(around).map_err(|error| odd(&format!("the folder around it: {error}")))?;
        let folder = open_dir(&site.dir).map_err(|error| odd(&error.to_string()))?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ApplyError::Taken { dir: site.dir }),
            Err(TryLockError::Error(error)) => return Err(odd(&error.to_string())),
        }
        if !is_empty(&site.dir).map_err(|error| odd(&error.to_string()))? {
            return Err(odd("it is not empty"));
        }
        Ok(Self { site, is_kept: false, folder })
    }
}

fn open_dir(dir: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?.into())
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(dir)?.next().is_none())
}

impl AsRef<Path> for Target {
    fn as_ref(&self) -> &Path {
        &self.site.dir
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = tree::clear(&self.site.dir)
        {
            tracing::warn!(path = %self.site.dir.display(), %error, "a layer that failed is left half unpacked");
        }
    }
}

/// What is left to do once all files are there.
fn finish(layer: Layer<Target>, durability: Durability) -> Result<Applied, LayerError> {
    let Layer { scratch: mut target, diff_id, tar_bytes, grown } = layer;
    let dir = &target.site.dir;
    let failed = |action: &'static str, source| StoreError::io(action, dir, source);
    let made = std::fs::symlink_metadata(dir).map_err(|error| failed("look at", error))?;
    let base = RootMeta { mode: made.mode() & 0o7777, uid: made.uid(), gid: made.gid() };
    tree::settle(dir, &grown, &target.site.lowers, base)?;
    if durability == Durability::Synced {
        rustix::fs::syncfs(&target.folder).map_err(|errno| failed("sync", errno.into()))?;
    }
    target.is_kept = true;
    Ok(Applied { diff_id, size: tar_bytes })
}

/// Whether another differ may do better: one with more memory, with more rights, or one that
/// sees the layers below while it unpacks.
fn is_left_to_others(error: &LayerError) -> bool {
    match error {
        error if error.is_for_want_of_memory() => true,
        LayerError::Archive(ArchiveError::Sink(error)) | LayerError::Tree(error) => is_beyond_us(error),
        _ => false,
    }
}

fn is_beyond_us(error: &TreeError) -> bool {
    matches!(error.kind(), Kind::Unsupported | Kind::StoreInvalid)
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static + From<StoreError>,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::thread(&error))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::inflate::InflateError;
    use crate::unpack::tree::{Shown, Whiteouts};

    fn site_in(folder: &Path) -> Site {
        let dir = folder.join("fs");
        std::fs::create_dir_all(&dir).expect("makes");
        Site { dir, lowers: Vec::new(), whiteouts: Whiteouts::Plain }
    }

    #[test]
    fn what_is_not_kept_is_cleared_away_and_what_was_there_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = site_in(folder.path());
        let target = Target::open(site.clone()).expect("is empty and ours");
        std::fs::create_dir_all(site.dir.join("a/b")).expect("makes");
        drop(target);
        assert!(is_empty(&site.dir).expect("is there still"));

        let mut target = Target::open(site.clone()).expect("is empty again");
        std::fs::write(site.dir.join("file"), "x").expect("writes");
        target.is_kept = true;
        drop(target);
        assert!(site.dir.join("file").exists());
        let refused = Target::open(site.clone()).expect_err("somebody else's work is in it");
        assert!(matches!(refused, ApplyError::NotTaken(_)), "{refused}");
        assert!(site.dir.join("file").exists());
    }

    #[test]
    fn nobody_else_fills_it_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = site_in(folder.path());
        let target = Target::open(site.clone()).expect("is empty and ours");
        let refused = Target::open(site.clone()).expect_err("it is being filled");
        assert!(matches!(refused, ApplyError::Taken { .. }), "{refused}");
        assert_eq!((refused.kind(), refused.blame()), (Kind::StoreInvalid, Blame::Caller));
        std::fs::write(site.dir.join("file"), "x").expect("writes");
        let refused = Target::open(site.clone()).expect_err("it is still being filled");
        assert!(matches!(refused, ApplyError::Taken { .. }), "no other differ may be let at it: {refused}");
        drop(target);
        Target::open(site).expect("is free again");
    }

    #[test]
    fn only_a_folder_that_is_seen_from_here_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = site_in(folder.path());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("fs", &link).expect("links");
        for dir in [link, folder.path().join("nothing"), PathBuf::from("/")] {
            let refused = Target::open(Site { dir: dir.clone(), ..site.clone() }).expect_err("is no place of ours");
            assert!(matches!(refused, ApplyError::NotTaken(_)), "{}: {refused}", dir.display());
        }
    }

    #[test]
    fn others_get_what_they_can_do_better() {
        let io = |kind: io::ErrorKind| TreeError::Io { action: "create", path: Shown::new(b"a"), source: kind.into() };
        let inherited = TreeError::Inherited { path: Shown::new(b"a") };
        let cases = [
            (LayerError::Inflate(InflateError::Window), true),
            (LayerError::Inflate(InflateError::Truncated { format: "gzip" }), false),
            (LayerError::Tree(inherited), true),
            (LayerError::Tree(TreeError::Memory), true),
            (LayerError::Tree(io(io::ErrorKind::PermissionDenied)), true),
            (ArchiveError::Sink(io(io::ErrorKind::ReadOnlyFilesystem)).into(), true),
            (LayerError::Tree(io(io::ErrorKind::StorageFull)), false),
            (LayerError::CutOff, false),
        ];
        for (error, left) in cases {
            assert_eq!(is_left_to_others(&error), left, "{error}");
        }
    }
}
