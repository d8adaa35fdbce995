//! Trees into snapshots of containerd's own overlayfs snapshotter, by a rename.
//!
//! A tree grows beside the snapshotter's `snapshots` folder, on the same file system. When its
//! parent is committed, an empty snapshot is prepared, the tree takes the place of its
//! upper directory, and the snapshot is committed. That works from containerd 1.6 on,
//! lets all layers grow at once, and needs nothing of containerd that is not in its
//! answers: whatever looks unfamiliar here means that containerd extracts the layer itself.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use containerd_client::types::Mount;

use super::super::layer::Layer;
use super::super::tree::{self, RootMeta, TreeError};
use super::super::workspace::Workspace;
use crate::core::unique;
use crate::cpu::Cpu;
use crate::store::StoreError;
use crate::store::containerd::Containerd;

/// The only snapshotter whose folders are known: containerd's own.
const SNAPSHOTTER: &str = "overlayfs";
/// Our folder in the snapshotter's root. containerd's clean-up looks into `snapshots` only.
const WORKSPACE: &str = "lighterman";
/// Decides what confined processes may do with a file; new files take it from their folder.
const SELINUX: &str = "security.selinux";

/// A snapshotter that trees can be grafted into.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    snapshots: PathBuf,
    pub(super) workspace: Workspace,
}

/// Where a prepared snapshot expects its files, and what lies below, nearest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Site {
    upper: PathBuf,
    lowers: Vec<PathBuf>,
}

/// Why a tree did not get into its snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum GraftError {
    /// What depends on the layers below could not be put right.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The rename, or the look at where it goes.
    #[error("cannot put a tree into {path}: {source}", path = path.display())]
    Move {
        /// The upper directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Ground {
    /// Finds out whether trees can be grafted, by a real rename. Those that are not are removed on
    /// `cpu`.
    ///
    /// # Errors
    /// Outside, where containerd does not answer; inside, in words, why they cannot.
    pub(super) async fn find(store: &Containerd, cpu: &Cpu) -> Result<Result<Self, String>, StoreError> {
        if store.snapshotter() != SNAPSHOTTER {
            return Ok(Err(format!("the snapshotter is {}, not {SNAPSHOTTER}", store.snapshotter())));
        }
        let Some(root) = store.snapshotter_root().await? else {
            return Ok(Err("containerd does not say where its snapshots are".into()));
        };
        let cpu = cpu.clone();
        let opened = tokio::task::spawn_blocking(move || Self::open(&root, &cpu)).await;
        opened.map_err(|error| StoreError::thread(&error))
    }

    fn open(root: &Path, cpu: &Cpu) -> Result<Self, String> {
        if in_user_namespace() {
            return Err("this is a user namespace".into());
        }
        let snapshots = root.join("snapshots");
        let own = root.join(WORKSPACE);
        let prepared = || {
            // Only where containerd's folder is: this process may see another file system.
            check_owner(root)?;
            check_owner(&snapshots)?;
            // The label first: what is made below has it from here.
            let workspace = Workspace::open(&own, cpu, |own| copy_label(&snapshots, own))?;
            prove_rename(&workspace, &snapshots)?;
            Ok(workspace)
        };
        let workspace = prepared().map_err(|error: std::io::Error| format!("{}: {error}", snapshots.display()))?;
        Ok(Self { snapshots, workspace })
    }

    /// Reads a snapshot's mounts; `None` where anything is not as containerd's overlayfs has it.
    pub(super) fn site(&self, mounts: &[Mount]) -> Option<Site> {
        let [mount] = mounts else { return None };
        let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
        let site = match mount.r#type.as_str() {
            "bind" => Site { upper: mount.source.clone().into(), lowers: Vec::new() },
            // Attributes of rootless overlays are others than the ones that trees are made with.
            "overlay" if !mount.options.iter().any(|option| option == "userxattr") => Site {
                upper: option("upperdir=")?.into(),
                lowers: option("lowerdir=")?.split(':').map(PathBuf::from).collect(),
            },
            _ => return None,
        };
        let familiar = |path: &PathBuf| {
            let below = path.strip_prefix(&self.snapshots).ok()?;
            let parts: Vec<_> = below.components().collect();
            matches!(parts[..], [Component::Normal(_), Component::Normal(last)] if last == "fs").then_some(())
        };
        std::iter::once(&site.upper).chain(&site.lowers).all(|path| familiar(path).is_some()).then_some(site)
    }
}

/// Puts a proven tree in the place of a prepared snapshot's empty upper directory. Blocks.
pub(super) fn graft(layer: &Layer, site: &Site) -> Result<(), GraftError> {
    let failed = |source| GraftError::Move { path: site.upper.clone(), source };
    let made = fs::symlink_metadata(&site.upper).map_err(failed)?;
    let base = RootMeta { mode: made.mode() & 0o7777, uid: made.uid(), gid: made.gid() };
    tree::settle(layer.scratch.path(), &layer.grown, &site.lowers, base)?;
    fs::rename(layer.scratch.path(), &site.upper).map_err(failed)
}

/// Only where nobody but us can put something else in the place of what we make: root's trees
/// hold setuid files and devices, and a containerd may be another user's.
pub(super) fn check_owner(path: &Path) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let others_write = metadata.mode() & 0o022 != 0;
    if metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw() && !others_write {
        return Ok(());
    }
    Err(std::io::Error::other("it does not belong to this user alone"))
}

/// Equal device numbers do not mean that a rename works: bind mounts do not cross. An empty
/// folder that nobody knows does no harm among the snapshots, even if it had to stay.
fn prove_rename(workspace: &Workspace, snapshots: &Path) -> std::io::Result<()> {
    let scratch = workspace.scratch()?;
    let there = snapshots.join(format!("new-lighterman-{}", unique::name()));
    fs::DirBuilder::new().mode(0o700).create(&there)?;
    let renamed = fs::rename(scratch.path(), &there);
    let removed = fs::remove_dir(&there);
    renamed.and(match removed {
        // containerd's own clean-up may have been faster.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    })
}

/// Gives our folder the SELinux label that containers may read, where there are labels.
fn copy_label(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut label = [0; 256];
    match rustix::fs::lgetxattr(from, SELINUX, &mut label) {
        Ok(length) => Ok(rustix::fs::lsetxattr(to, SELINUX, &label[..length], rustix::fs::XattrFlags::empty())?),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether root here is another user outside: then devices and trusted attributes cannot be made.
pub(super) fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_whole(&map))
}

/// The map of the first user namespace gives every user itself.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ground(folder: &Path) -> Ground {
        let workspace = Workspace::open(&folder.join("own"), &Cpu::new(), |_| Ok(())).expect("opens");
        Ground { snapshots: "/run/c/snapshots".into(), workspace }
    }

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&option| option.into()).collect();
        Mount { r#type: kind.into(), source: source.into(), options, ..Mount::default() }
    }

    #[test]
    fn only_familiar_mounts_are_sites() {
        let folder = tempfile::tempdir().expect("folder");
        let ground = ground(folder.path());
        let (upper, work) = ("upperdir=/run/c/snapshots/7/fs", "workdir=/run/c/snapshots/7/work");
        let lower = "lowerdir=/run/c/snapshots/6/fs:/run/c/snapshots/2/fs";
        let bottom = mount("bind", "/run/c/snapshots/1/fs", &["rw", "rbind"]);
        assert_eq!(
            ground.site(std::slice::from_ref(&bottom)),
            Some(Site { upper: "/run/c/snapshots/1/fs".into(), lowers: Vec::new() })
        );
        let stacked = mount("overlay", "overlay", &["index=off", work, upper, lower]);
        assert_eq!(
            ground.site(std::slice::from_ref(&stacked)),
            Some(Site {
                upper: "/run/c/snapshots/7/fs".into(),
                lowers: vec!["/run/c/snapshots/6/fs".into(), "/run/c/snapshots/2/fs".into()]
            })
        );
        for odd in [
            vec![],
            vec![bottom, stacked],
            vec![mount("overlay", "overlay", &["userxattr", work, upper, lower])],
            vec![mount("overlay", "overlay", &[lower])],
            vec![mount("bind", "/etc", &[])],
            vec![mount("bind", "/run/c/snapshots/../fs", &[])],
            vec![mount("bind", "/run/c/snapshots/1/work", &[])],
            vec![mount("bind", "/run/c/snapshots/1/fs/etc", &[])],
            vec![mount("overlay", "overlay", &[work, upper, "lowerdir=/etc"])],
            vec![mount("btrfs", "/run/c/snapshots/1/fs", &[])],
        ] {
            assert_eq!(ground.site(&odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_folder_that_others_can_change_is_no_ground() {
        let folder = tempfile::tempdir().expect("folder");
        check_owner(folder.path()).expect("is ours alone");
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), open).expect("is ours");
        let refused = check_owner(folder.path()).expect_err("anybody may write");
        assert!(refused.to_string().contains("this user alone"), "{refused}");
    }

    #[test]
    fn user_namespaces_are_told_by_their_map() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("0 100000 65536\n"));
        assert!(!is_whole("0 0 4294967295\n5 5 1"));
    }
}
