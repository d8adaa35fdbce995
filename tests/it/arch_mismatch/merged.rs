//! The directories of layers, merged by hand and by the kernel: what a path leads to has to be the same.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::Digest;
use lighterman::diagnose::rootfs::directories::Directories;
use lighterman::diagnose::rootfs::{Look, NotRead, RootFs as _};
use lighterman::unpack::{Attributes, Stack};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags, lsetxattr, mknodat, openat2};
use rustix::io::Errno;

use crate::support::succeed;

/// Something in a layer.
#[derive(Debug, Clone)]
enum Thing {
    File(u32),
    Directory,
    Opaque,
    Whiteout,
    Device,
    Pipe,
    Link(&'static str),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const TARGETS: [&str; 9] = ["a", "b", "c", "../b", "/a/b", "/c", "../../a", "b/../c", "."];

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => prop::sample::select(vec![0o755, 0o644]).prop_map(Thing::File),
        4 => Just(Thing::Directory),
        1 => Just(Thing::Opaque),
        2 => Just(Thing::Whiteout),
        1 => Just(Thing::Device),
        1 => Just(Thing::Pipe),
        3 => prop::sample::select(TARGETS.to_vec()).prop_map(Thing::Link),
    ]
}

fn path(deepest: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..=deepest).prop_map(|names| names.join("/"))
}

/// Layers from the top down.
fn layers() -> impl Strategy<Value = Vec<Vec<(String, Thing)>>> {
    prop::collection::vec(prop::collection::vec((path(3), thing()), 0..10), 2..5)
}

fn make(layer: &Path, number: usize, things: &[(String, Thing)]) {
    fs::create_dir(layer).expect("a new folder");
    for (name, thing) in things {
        let at = layer.join(name);
        // What an earlier thing is in the way of is left out.
        let above = at.parent().expect("below the layer");
        if at.symlink_metadata().is_ok() || !is_directory_way(layer, above) {
            continue;
        }
        fs::create_dir_all(above).expect("a way of directories");
        match thing {
            Thing::File(mode) => {
                fs::write(&at, format!("{number} {name}")).expect("writes");
                fs::set_permissions(&at, fs::Permissions::from_mode(*mode)).expect("ours");
            }
            Thing::Directory => fs::create_dir(&at).expect("a new folder"),
            Thing::Opaque => {
                fs::create_dir(&at).expect("a new folder");
                lsetxattr(&at, "trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("root may");
            }
            Thing::Whiteout => mknodat(CWD, &at, FileType::CharacterDevice, Mode::empty(), 0).expect("root may"),
            Thing::Device => {
                let null = rustix::fs::makedev(1, 3);
                mknodat(CWD, &at, FileType::CharacterDevice, Mode::from_raw_mode(0o666), null).expect("root may");
            }
            Thing::Pipe => mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("makes"),
            Thing::Link(target) => symlink(target, &at).expect("a new link"),
        }
    }
}

fn is_directory_way(layer: &Path, above: &Path) -> bool {
    let ways = above.ancestors().take_while(|way| *way != layer);
    ways.into_iter().all(|way| way.symlink_metadata().map_or(true, |found| found.is_dir()))
}

/// An overlay, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn of(directories: &[PathBuf], at: &Path) -> Self {
        fs::create_dir(at).expect("a new folder");
        let lowers: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
        let options = format!("ro,lowerdir={}", lowers.join(":"));
        succeed(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at));
        Self(at.into())
    }

    /// What the kernel finds at a path of the image.
    fn look(&self, path: &str) -> Seen {
        let root = openat2(CWD, &self.0, OFlags::PATH, Mode::empty(), ResolveFlags::empty()).expect("the root");
        let way = path.trim_start_matches('/');
        let way = if way.is_empty() { "." } else { way };
        match openat2(&root, way, OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT | Errno::NOTDIR) => Seen::Absent,
            Err(Errno::LOOP) => Seen::Loop,
            Err(errno) => panic!("{path}: {errno}"),
            Ok(fd) => {
                let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let found = fs::metadata(&own).expect("is held");
                match FileType::from_raw_mode(found.mode()) {
                    FileType::RegularFile => {
                        Seen::File(found.mode() & 0o7777, fs::read_to_string(&own).expect("is readable"))
                    }
                    FileType::Directory => Seen::Other("a directory"),
                    FileType::Fifo => Seen::Other("a named pipe"),
                    _ => Seen::Other("a device"),
                }
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    File(u32, String),
    Other(&'static str),
    Absent,
    Loop,
}

fn layer(number: usize) -> Descriptor {
    Descriptor::new(MediaType::OciManifest, Digest::of(&number.to_le_bytes()), 100)
}

/// Opens directories of as many layers, the top one first.
fn open(directories: &[PathBuf]) -> Directories {
    let layers: Vec<Descriptor> = (0..directories.len()).rev().map(layer).collect();
    let stack = Stack { directories: directories.to_vec(), attributes: Attributes::Trusted };
    Directories::open(&stack, &layers, &Digest::of(b"manifest")).expect("opens")
}

/// What we find, which has to come from the layer that it says.
fn ours(rootfs: &mut Directories, path: &str) -> Seen {
    match rootfs.look(&[path.to_owned()]).expect("reads") {
        Look::File(file) => {
            let content = String::from_utf8(file.content.prefix().to_vec()).expect("text");
            let number: usize = content.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
            assert_eq!(file.layer, layer(number).digest, "{content}");
            assert!(content.ends_with(&format!(" {}", file.path.trim_start_matches('/'))), "{content} {}", file.path);
            Seen::File(file.mode, content)
        }
        Look::Other { kind, .. } => Seen::Other(kind),
        Look::Absent => Seen::Absent,
        Look::Loop { .. } => Seen::Loop,
        Look::NotRead(why) => panic!("{path}: {why:?}"),
    }
}

/// Every path of some names, and some that go up again.
fn paths() -> Vec<String> {
    let mut paths: Vec<String> = vec!["/".into(), "/..".into(), "/../a".into()];
    for first in NAMES {
        paths.push(format!("/{first}"));
        for second in ["a", "b", "c", ".."] {
            paths.push(format!("/{first}/{second}"));
            paths.extend(NAMES.map(|third| format!("/{first}/{second}/{third}")));
        }
    }
    paths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn by_hand_and_by_the_kernel(layers in layers(), opaque_roots in any::<u8>()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directories: Vec<PathBuf> = (0..layers.len()).map(|number| folder.path().join(number.to_string())).collect();
        for (number, (directory, things)) in directories.iter().zip(&layers).enumerate() {
            make(directory, number, things);
            // As a whiteout of everything at the top of a layer leaves it.
            if opaque_roots >> number & 1 == 1 {
                lsetxattr(directory, "trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("root may");
            }
        }
        let mounted = Mounted::of(&directories, &folder.path().join("merged"));
        let mut rootfs = open(&directories);
        for path in paths() {
            prop_assert_eq!(ours(&mut rootfs, &path), mounted.look(&path), "{}", path);
        }
    }
}

#[test]
fn the_first_of_several_paths_counts_and_reading_is_accounted_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directories = ["0", "1"].map(|name| folder.path().join(name));
    make(&directories[0], 0, &[("a".into(), Thing::Directory)]);
    make(&directories[1], 1, &[("a/b".into(), Thing::File(0o755)), ("c".into(), Thing::Link("/a/b"))]);
    let mut rootfs = open(&directories);
    let asked = ["/x", "/c", "/a/b"].map(String::from);
    let Look::File(file) = rootfs.look(&asked).expect("reads") else { panic!("no file") };
    assert_eq!((file.asked.as_str(), file.path.as_str(), file.layer), ("/c", "/a/b", layer(1).digest));
    let cost = rootfs.cost();
    assert_eq!((cost.fetched, cost.read, cost.total, cost.layers), (0, 5, 200, 2));
}

#[test]
fn what_depends_on_the_mount_is_not_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directories = ["0", "1"].map(|name| folder.path().join(name));
    make(&directories[0], 0, &[("a".into(), Thing::Directory), ("b".into(), Thing::File(0o755))]);
    make(&directories[1], 1, &[("c".into(), Thing::File(0o755))]);
    for (path, attribute) in [("a", "redirect"), ("b", "metacopy")] {
        let at = directories[0].join(path);
        lsetxattr(&at, format!("trusted.overlay.{attribute}"), b"/c", XattrFlags::empty()).expect("root may");
        let look = open(&directories).look(&[format!("/{path}")]).expect("looks");
        let Look::NotRead(NotRead::Layer { digest, reason }) = look else { panic!("{look:?}") };
        assert_eq!(digest, layer(0).digest);
        assert!(reason.contains(attribute), "{reason}");
        // In a directory that is all of it, it is an attribute as any other.
        let alone = open(&directories[..1]).look(&[format!("/{path}")]).expect("looks");
        assert!(matches!(alone, Look::File(_) | Look::Other { .. }), "{alone:?}");
    }
}

#[test]
fn hostile_paths_come_to_an_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directories = ["0", "1"].map(|name| folder.path().join(name));
    make(&directories[0], 0, &[("a".into(), Thing::Link("a")), ("b/c".into(), Thing::File(0o755))]);
    make(&directories[1], 1, &[]);
    // Each name of a link's target is a link again, up to as many as Linux follows.
    let target = format!("{}c", "b/../".repeat(700));
    symlink(&target, directories[0].join("long")).expect("a new link");
    symlink("/../../../../../etc/passwd", directories[0].join("out")).expect("a new link");
    let mut rootfs = open(&directories);
    let mut look = |path: &str| rootfs.look(&[path.to_owned()]).expect("looks");
    assert!(matches!(look("/a"), Look::Loop { .. }));
    assert!(matches!(look("/long"), Look::Absent));
    assert!(matches!(look("/out"), Look::Absent), "it led out of the image");
    assert!(matches!(look(&format!("/{}", "x".repeat(300))), Look::Absent));
    assert!(matches!(look(&format!("/{}", "b/../".repeat(2000))), Look::Absent));
    assert!(matches!(look("/b/c/"), Look::File(_)));
    let gone = Stack { directories: vec![folder.path().join("gone")], attributes: Attributes::Trusted };
    assert!(Directories::open(&gone, &[layer(0)], &Digest::of(b"manifest")).is_err(), "absence is claimed of nothing");
}
