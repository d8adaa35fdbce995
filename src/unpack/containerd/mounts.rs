//! Mounts that a containerd prepared: which directory the files of a layer go into, what lies
//! below, and where all files of an image are. Pure.
//!
//! They are read as containerd's own applier reads them. It never mounts an overlay, but writes
//! to the upper directory; and what a bind mount shows is the directory that it is of.

use std::path::{Component, Path, PathBuf};

use containerd_client::types::Mount;

use super::super::tree::Whiteouts;
use super::super::{Attributes, Stack};

/// Where a layer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its files.
    pub dir: PathBuf,
    /// Directories of the layers below, nearest first.
    pub lowers: Vec<PathBuf>,
    /// How it hides what is in them.
    pub whiteouts: Whiteouts,
}

/// Reads mounts.
///
/// # Errors
/// What is unfamiliar about them.
pub fn site(mounts: &[Mount]) -> Result<Site, String> {
    let [mount] = mounts else { return Err(format!("{} mounts instead of one", mounts.len())) };
    if !mount.target.is_empty() {
        return Err(format!("a mount at {:?} in another", mount.target));
    }
    let site = match mount.r#type.as_str() {
        "overlay" => overlay(&mount.options)?,
        "bind" if mount.options.iter().any(|option| option == "ro") => return Err("a read-only mount".into()),
        "bind" => Site { dir: mount.source.clone().into(), lowers: Vec::new(), whiteouts: Whiteouts::Plain },
        kind => return Err(format!("a mount of type {kind:?}")),
    };
    match std::iter::once(&site.dir).chain(&site.lowers).find(|path| !is_plain(path)) {
        Some(path) => Err(format!("the path {}", path.display())),
        None => Ok(site),
    }
}

fn overlay(options: &[String]) -> Result<Site, String> {
    let option = |name: &str| options.iter().rev().find_map(|option| option.strip_prefix(name));
    // Attributes of rootless overlays are others than the ones that trees are made with, and
    // layers that are listed one by one are nothing that containerd's applier reads.
    if let Some(odd) = options.iter().find(|option| *option == "userxattr" || option.contains("dir+=")) {
        return Err(format!("an overlay with {odd:?}"));
    }
    let dir = option("upperdir=").ok_or("an overlay without a directory to write to")?;
    let lowers = option("lowerdir=").map(|lowers| lowers.split(':').map(PathBuf::from).collect());
    Ok(Site { dir: dir.into(), lowers: lowers.unwrap_or_default(), whiteouts: Whiteouts::Overlay })
}

/// Where the files of a snapshot are, read only or not.
///
/// # Errors
/// What is unfamiliar about its mounts.
pub fn stack(mounts: &[Mount]) -> Result<Stack, String> {
    let [mount] = mounts else { return Err(format!("{} mounts instead of one", mounts.len())) };
    if !mount.target.is_empty() {
        return Err(format!("a mount at {:?} in another", mount.target));
    }
    let option = |name: &str| mount.options.iter().rev().find_map(|option| option.strip_prefix(name));
    let directories: Vec<PathBuf> = match mount.r#type.as_str() {
        "bind" => vec![mount.source.clone().into()],
        "overlay" if mount.options.iter().any(|option| option.contains("dir+=")) => {
            return Err("an overlay whose layers are listed one by one".into());
        }
        "overlay" => {
            let lowers = option("lowerdir=").into_iter().flat_map(|lowers| lowers.split(':'));
            option("upperdir=").into_iter().chain(lowers).map(PathBuf::from).collect()
        }
        kind => return Err(format!("a mount of type {kind:?}")),
    };
    match directories.iter().find(|path| !is_plain(path)) {
        Some(path) => return Err(format!("the path {}", path.display())),
        None if directories.is_empty() => return Err("an overlay without layers".into()),
        None => {}
    }
    let is_user = mount.options.iter().any(|option| option == "userxattr");
    let attributes = if is_user { Attributes::User } else { Attributes::Trusted };
    Ok(Stack { directories, attributes })
}

/// Leads from the root down, one name after the other, and has nothing that overlayfs would unescape.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&option| option.into()).collect();
        Mount { r#type: kind.into(), source: source.into(), options, ..Mount::default() }
    }

    #[test]
    fn what_snapshotters_prepare_is_understood() {
        let (upper, work) = ("upperdir=/c/snapshots/7/fs", "workdir=/c/snapshots/7/work");
        let below = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let cases = [
            (mount("bind", "/c/snapshots/1/fs", &["rw", "rbind"]), "/c/snapshots/1/fs", below(&[]), Whiteouts::Plain),
            (
                mount(
                    "overlay",
                    "overlay",
                    &["index=off", work, upper, "lowerdir=/c/snapshots/6/fs:/c/snapshots/2/fs"],
                ),
                "/c/snapshots/7/fs",
                below(&["/c/snapshots/6/fs", "/c/snapshots/2/fs"]),
                Whiteouts::Overlay,
            ),
            // As containerd 2.2 asks for layers that are to be put on top of one another later.
            (mount("overlay", "overlay", &["rw", upper]), "/c/snapshots/7/fs", below(&[]), Whiteouts::Overlay),
        ];
        for (mount, dir, lowers, whiteouts) in cases {
            assert_eq!(
                site(std::slice::from_ref(&mount)),
                Ok(Site { dir: dir.into(), lowers, whiteouts }),
                "{mount:?}"
            );
        }
    }

    #[test]
    fn the_files_of_a_snapshot_are_in_its_directories_from_the_top_down() {
        let (upper, lower) = ("upperdir=/c/7/fs", "lowerdir=/c/6/fs:/c/2/fs");
        let cases = [
            (mount("bind", "/c/1/fs", &["ro", "rbind"]), &["/c/1/fs"][..], Attributes::Trusted),
            (mount("bind", "/c/1/fs", &["rw", "rbind"]), &["/c/1/fs"], Attributes::Trusted),
            (mount("overlay", "overlay", &[upper, lower]), &["/c/7/fs", "/c/6/fs", "/c/2/fs"], Attributes::Trusted),
            (mount("overlay", "overlay", &["userxattr", lower]), &["/c/6/fs", "/c/2/fs"], Attributes::User),
        ];
        for (mount, directories, attributes) in cases {
            let directories = directories.iter().map(PathBuf::from).collect();
            assert_eq!(stack(std::slice::from_ref(&mount)), Ok(Stack { directories, attributes }), "{mount:?}");
        }
        let bind = mount("bind", "/c/1/fs", &[]);
        let odd = [
            vec![],
            vec![bind.clone(), bind.clone()],
            vec![Mount { target: "/etc".into(), ..bind }],
            vec![mount("bind", "c/1/fs", &[])],
            vec![mount("bind", "/c/../etc", &[])],
            vec![mount("overlay", "overlay", &["index=off"])],
            vec![mount("overlay", "overlay", &[upper, "lowerdir+=/c/6/fs"])],
            vec![mount("overlay", "overlay", &[r"lowerdir=/c/6\:7/fs"])],
            vec![mount("overlay", "overlay", &["lowerdir=/c/6/fs::/data"])],
            vec![mount("erofs", "/c/1/fs", &[])],
        ];
        for mounts in odd {
            assert!(stack(&mounts).is_err(), "{mounts:?}");
        }
    }

    #[test]
    fn everything_else_is_left_to_others() {
        let (upper, lower) = ("upperdir=/c/7/fs", "lowerdir=/c/6/fs");
        let bind = mount("bind", "/c/1/fs", &["rw", "rbind"]);
        let odd = [
            vec![],
            vec![bind.clone(), mount("overlay", "overlay", &[upper, lower])],
            vec![Mount { target: "/etc".into(), ..bind }],
            vec![mount("bind", "/c/1/fs", &["ro", "rbind"])],
            vec![mount("bind", "c/1/fs", &[])],
            vec![mount("bind", "/c/../etc", &[])],
            vec![mount("bind", "", &[])],
            vec![mount("overlay", "overlay", &[lower])],
            vec![mount("overlay", "overlay", &["userxattr", upper, lower])],
            vec![mount("overlay", "overlay", &[upper, "lowerdir+=/c/6/fs"])],
            vec![mount("overlay", "overlay", &[upper, "lowerdir=/c/6/fs:"])],
            vec![mount("overlay", "overlay", &[upper, r"lowerdir=/c/6\:7/fs"])],
            vec![mount("btrfs", "/c/1/fs", &[])],
            vec![mount("erofs", "/c/1/fs", &[])],
            vec![mount("format/overlay", "overlay", &[upper, lower])],
        ];
        for mounts in odd {
            assert!(site(&mounts).is_err(), "{mounts:?}");
        }
    }
}
