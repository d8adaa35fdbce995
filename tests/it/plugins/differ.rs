//! Our differ on snapshots of a real containerd. That it makes of a layer what containerd makes of
//! it, in all the cases that we know, is shown in [`crate::unpack_likeness`].

use std::collections::HashMap;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

use containerd_client::services::v1::ApplyRequest;
use containerd_client::tonic::Code;
use containerd_client::types::Mount;

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{Blob, Flavour, Manifest, Tree, platform};
use crate::support::snapshots::{ByHand, application, directory};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer as it is transferred: gzipped, or as a plain tar.
fn blob(tree: Tree) -> Blob {
    let manifest = Manifest::new(Flavour::Oci, &platform("amd64", ""), &[tree.layer()], ("/none", &[]));
    manifest.layers.into_iter().next().expect("a layer")
}

fn plain(path: &str, content: &[u8]) -> Blob {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).expect("memory");
    Blob::new(TAR, tar.into_inner().expect("memory"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

struct Bed {
    containerd: ContainerdDaemon,
    daemon: Daemon<'static>,
    hands: ByHand,
}

impl Bed {
    fn new(snapshotter: &'static str) -> Self {
        let containerd = ContainerdDaemon::start();
        let daemon = Daemon::start(&containerd);
        let hands = ByHand::new(&containerd.address(), snapshotter);
        Self { containerd, daemon, hands }
    }

    fn code(&self, request: ApplyRequest) -> Code {
        self.hands.apply(&self.daemon.socket(), request).err().map_or(Code::Ok, |status| status.code())
    }

    /// A snapshot with one file, committed.
    fn bottom(&self) -> &'static str {
        let layer = blob(Tree::new().dir("etc").file("etc/below", 0o644, b"below"));
        self.hands.put(&layer);
        let mounts = self.hands.prepare("bottom", "");
        assert_eq!(self.code(application(&layer, &mounts)), Code::Ok);
        self.hands.commit("bottom", "the bottom");
        "the bottom"
    }
}

#[test]
fn a_layer_is_told_of_as_containerd_tells() {
    let bed = Bed::new("overlayfs");
    let below = bed.bottom();
    let tree = Tree::new().dir("etc").file("etc/file", 0o644, b"content").file("etc/.wh.below", 0o644, b"");
    for (index, layer) in [blob(tree), plain("etc/plain", &[7; 100_000])].iter().enumerate() {
        bed.hands.put(layer);
        let [ours, theirs] = ["ours", "theirs"].map(|whose| bed.hands.prepare(&format!("{whose} {index}"), below));
        let request = ApplyRequest { sync_fs: true, ..application(layer, &ours) };
        let applied = bed.hands.apply(&bed.daemon.socket(), request).expect("our differ takes it");
        assert_eq!(applied, bed.hands.apply_with_containerd(application(layer, &theirs)).expect("and containerd's"));
        assert_eq!(names(&directory(&ours).join("etc")), names(&directory(&theirs).join("etc")));
    }
}

#[test]
fn what_is_not_ours_is_left_as_it_was() {
    let bed = Bed::new("overlayfs");
    let below = bed.bottom();
    let layer = blob(Tree::new().file("file", 0o644, b"content"));
    bed.hands.put(&layer);
    let mounts = bed.hands.prepare("top", below);
    let dir = directory(&mounts);
    let request = application(&layer, &mounts);
    let typed = |media_type: &str| application(&Blob { media_type: media_type.into(), ..layer.clone() }, &mounts);
    let kind = |kind: &str| Mount { r#type: kind.into(), ..mounts[0].clone() };
    let payloads = HashMap::from([("io.containerd.ocicrypt.v1.Payload".to_owned(), Default::default())]);
    let refused = [
        ApplyRequest { payloads: payloads.clone(), ..typed("application/vnd.oci.image.layer.v1.tar+gzip+encrypted") },
        typed("application/vnd.oci.image.layer.v1.squashfs"),
        ApplyRequest { mounts: vec![], ..request.clone() },
        ApplyRequest { mounts: vec![kind("btrfs")], ..request.clone() },
        ApplyRequest { mounts: vec![mounts[0].clone(), kind("bind")], ..request.clone() },
        application(&Blob::new(&layer.media_type, "in no store"), &mounts),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(bed.code(refused), Code::Unimplemented, "{index}");
        assert_eq!(names(&dir), [""; 0], "{index}");
    }
    assert_eq!(bed.hands.diff(&bed.daemon.socket()).code(), Code::Unimplemented);

    std::fs::write(dir.join("somebody's"), "work").expect("writes");
    assert_eq!(bed.code(request.clone()), Code::Unimplemented);
    assert_eq!(names(&dir), ["somebody's"]);
    std::fs::remove_file(dir.join("somebody's")).expect("removes");
    // As CRI sends it with layers that need no decryption.
    assert_eq!(bed.code(ApplyRequest { payloads, ..request }), Code::Ok);
}

#[test]
fn copies_of_lower_layers_are_left_to_containerd() {
    let bed = Bed::new("native");
    let below = bed.bottom();
    let layer = blob(Tree::new().file("file", 0o644, b"content"));
    bed.hands.put(&layer);
    let mounts = bed.hands.prepare("top", below);
    assert_eq!(names(&directory(&mounts)), ["etc"]);
    assert_eq!(bed.code(application(&layer, &mounts)), Code::Unimplemented);
    assert_eq!(names(&directory(&mounts)), ["etc"]);
}

#[test]
fn a_layer_that_fails_leaves_nothing_behind() {
    let bed = Bed::new("overlayfs");
    let below = bed.bottom();
    let opaque = Tree::new().file(".wh..wh..opq", 0o644, b"").dir("new").file("new/file", 0o644, b"content");
    // A hard link to what is not in the layer: no differ can make it.
    let layer = blob(opaque.hardlink("link", "etc/below"));
    bed.hands.put(&layer);
    let mounts = bed.hands.prepare("top", below);
    let dir = directory(&mounts);
    assert_eq!(bed.code(application(&layer, &mounts)), Code::DataLoss);
    assert_eq!(names(&dir), [""; 0]);
    let mut value = [0; 8];
    let opaque = rustix::fs::lgetxattr(&dir, "trusted.overlay.opaque", &mut value);
    assert_eq!(opaque, Err(rustix::io::Errno::NODATA), "what it said of the folder itself is left");
}

#[test]
fn wrong_bytes_in_the_store_are_found() {
    let bed = Bed::new("overlayfs");
    let content = [b'a'; 500_000];
    let (tar, gzip) = (plain("file", &content), blob(Tree::new().file("file", 0o644, &content)));
    // In a file, in what a tar says of it, and in what does not even inflate.
    for (case, (layer, at)) in [(&tar, 400_000), (&tar, 150), (&gzip, 100)].into_iter().enumerate() {
        bed.hands.put(layer);
        let mounts = bed.hands.prepare(&format!("top {case}"), "");
        let stored = bed.containerd.blobs().join(layer.hex());
        let file = std::fs::OpenOptions::new().write(true).open(&stored).expect("root may");
        file.write_all_at(&[!layer.bytes[at]], at as u64).expect("writes");
        // Not the image's fault, but that of the disk.
        let refused = bed.hands.apply(&bed.daemon.socket(), application(layer, &mounts)).expect_err("is damaged");
        assert_eq!(refused.code(), Code::Internal, "{case}: {refused}");
        assert!(refused.message().contains("does not match its digest"), "{case}: {refused}");
        assert_eq!(names(&directory(&mounts)), [""; 0]);
        file.write_all_at(&[layer.bytes[at]], at as u64).expect("writes");
        assert_eq!(bed.code(application(layer, &mounts)), Code::Ok);
        assert_eq!(std::fs::read(directory(&mounts).join("file")).expect("reads"), content);
    }
}

#[test]
fn a_place_that_is_being_filled_is_left_to_who_fills_it() {
    let bed = Bed::new("overlayfs");
    let layer = blob(Tree::new().file("file", 0o644, b"content"));
    bed.hands.put(&layer);
    let mounts = bed.hands.prepare("top", "");
    let dir = directory(&mounts);
    let folder = std::fs::File::open(&dir).expect("opens");
    folder.try_lock().expect("nobody has it");
    // Not UNIMPLEMENTED, with which containerd would go on to its own differ.
    assert_eq!(bed.code(application(&layer, &mounts)), Code::FailedPrecondition);
    assert_eq!(names(&dir), [""; 0]);
    drop(folder);
    assert_eq!(bed.code(application(&layer, &mounts)), Code::Ok);
    assert_eq!(names(&dir), ["file"]);
}

#[test]
fn layers_that_are_stacked_later_keep_their_whiteouts() {
    let bed = Bed::new("overlayfs");
    let layer = blob(Tree::new().file("etc/.wh.below", 0o644, b"").file("usr/file", 0o644, b""));
    bed.hands.put(&layer);
    // As containerd 2.2 and newer ask, which unpack all layers at once.
    let mounts = bed.hands.prepare("apart", "");
    let options = vec!["rw".to_owned(), format!("upperdir={}", directory(&mounts).display())];
    let apart = Mount { r#type: "overlay".into(), source: "overlay".into(), options, ..Mount::default() };
    assert_eq!(bed.code(application(&layer, std::slice::from_ref(&apart))), Code::Ok);
    let hidden = directory(&[apart]).join("etc/below").symlink_metadata().expect("a whiteout");
    assert!(hidden.file_type().is_char_device());
}

#[test]
fn a_layer_from_a_foreign_place_is_none_of_ours() {
    let bed = Bed::new("overlayfs");
    let layer = blob(Tree::new().file("file", 0o4755, b"content"));
    bed.hands.put(&layer);
    // Where everybody could put something else in the place of the folder meanwhile.
    let open = tempfile::tempdir().expect("a folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(open.path(), mode).expect("is ours");
    let dir = open.path().join("fs");
    std::fs::create_dir(&dir).expect("makes");
    let source = dir.to_str().expect("UTF-8").to_owned();
    let bind = Mount { r#type: "bind".into(), source, options: vec!["rbind".into(), "rw".into()], ..Mount::default() };
    assert_eq!(bed.code(application(&layer, &[bind])), Code::Unimplemented);
    assert_eq!(names(&dir), [""; 0]);
}
