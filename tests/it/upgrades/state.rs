//! Staging directories and workspaces as another version, a broken disk or somebody else left them:
//! nothing in them is believed, what cannot be used is made anew, and what is not ours stays.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::faults::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::files_below;
use crate::support::fixture::Blob;
use crate::support::liar::{Liar, sent};
use crate::support::lighterman::Lighterman;

/// Large enough to come in ranges, so that there may be a journal of it.
const LARGE: usize = 9 << 20;
/// Many more than are cleared up in one go.
const MARKS: usize = 2000;

/// A journal that says of a blob that all of it is here, with this title and end.
fn journal(title: &str, blob: &Blob, end: &str) -> Vec<u8> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let (digest, size) = (&blob.digest, blob.bytes.len());
    let (boot, host) = (boot.trim(), "registry.example:5000");
    format!("{title} {digest} {size}\nboot {boot}\nw {:020} {size:020} {host}\ns 1\n{end}", 0).into_bytes()
}

/// Journals of which none is to be believed, by what is wrong with them.
fn journals(blob: &Blob) -> Vec<(&'static str, Vec<u8>)> {
    let cut = journal("lighterman-journal 1", blob, "")[..40].to_vec();
    vec![
        ("a version to come", journal("lighterman-journal 2", blob, "")),
        ("a version before", journal("lighterman-journal 0", blob, "")),
        ("no version", journal("lighterman-journal", blob, "")),
        ("a line of a version to come", journal("lighterman-journal 1", blob, "z 1 of 3\n")),
        ("cut off", cut),
        ("overwritten", vec![0xff; 300]),
        ("empty", Vec::new()),
    ]
}

/// Every file below a folder with its bytes; of a link, where it leads.
fn contents(folder: &Path, files: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &&str| {
        let path = folder.join(name);
        let linked = fs::read_link(&path).map(|target| target.into_os_string().into_encoded_bytes());
        ((*name).to_owned(), linked.or_else(|_| fs::read(&path)).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    files.iter().map(read).collect()
}

fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    fs::write(path, bytes).expect("a writable folder");
}

#[test]
fn downloads_of_another_version_or_damaged_ones_are_made_anew() {
    let (containerd, user, liar) = (ContainerdDaemon::start(), Lighterman::new(), Liar::start());
    let count = journals(&image_of(&[100]).manifests[0].layers[0]).len();
    let images: Vec<_> = (0..count).map(|number| image_of(&[LARGE + number])).collect();
    for (number, image) in images.iter().enumerate() {
        let layer = &image.manifests[0].layers[0];
        let staged = user.path("staging").join(format!("sha256-{}", layer.hex()));
        // As long as it should be, and nothing of it right.
        put(&staged, vec![b'?'; layer.bytes.len()]);
        put(&staged.with_extension("journal"), &journals(layer)[number].1);
        liar.add(image, &format!("app{number}:1"));
    }
    let daemon = Daemon::start_as(user, &containerd, "");
    for (number, image) in images.iter().enumerate() {
        let layer = &image.manifests[0].layers[0];
        let what = journals(layer)[number].0;
        daemon.user().run(&["pull", &liar.reference(&format!("app{number}:1"))]).succeeds();
        let landed = fs::read(containerd.blobs().join(layer.hex())).expect("it was reported as pulled");
        assert!(landed == layer.bytes, "{what}: other bytes were taken for it");
        let bytes = sent(&liar.requests_for(&layer.digest));
        assert!(bytes >= layer.bytes.len(), "{what}: only {bytes} bytes of it came");
    }
    assert_eq!(files_below(&daemon.staging()), [""; 0]);
}

#[test]
fn what_is_not_ours_in_staging_stays_and_the_lease_of_a_dead_pull_is_found_among_it() {
    let (containerd, user) = (ContainerdDaemon::start(), Lighterman::new());
    let (staging, address) = (user.path("staging"), containerd.address());
    let named = format!("sha256-{}", "0".repeat(64));
    let (index, manifest) = (format!("{named}.index"), format!("{named}.manifest/2"));
    let foreign = ["notes.txt", "VERSION", "v2/blobs/data", "sha256-short", &index, &manifest];
    for name in foreign {
        put(&staging.join(name), format!("somebody's {name}"));
    }
    // Marks as another version might write them, of another containerd, and damaged ones.
    let marks: Vec<String> = (0..MARKS).map(|number| format!("mark-{number:016x}")).collect();
    for (number, name) in marks.iter().enumerate() {
        let text: Vec<u8> = match number % 4 {
            0 => b"lighterman-mark 2\n{\"lease\":\"lighterman-other\"}\n".to_vec(),
            1 => b"/run/other/containerd.sock\ndefault\nlighterman-other\n".to_vec(),
            2 => format!("{}\ndefault\nnot-a-lease-of-ours\n", address.display()).into_bytes(),
            _ => vec![0xfe; 200],
        };
        put(&staging.join(name), text);
    }
    let stay: Vec<&str> = foreign.into_iter().chain(marks.iter().map(String::as_str)).collect();
    let before = contents(&staging, &stay);
    let dead = staging.join("mark-of-a-dead-pull");
    put(&dead, format!("{}\ndefault\nlighterman-dead\n", address.display()));
    for lease in ["lighterman-dead", "lighterman-other", "not-a-lease-of-ours"] {
        containerd.ctr_prints(&["leases", "create", "--id", lease, "by=test"]);
    }

    let liar = Liar::serving(&image_of(&[5_000]), "app:1");
    let mut daemon = Daemon::start_as(user, &containerd, "");
    daemon.user().run(&["pull", &liar.reference("app:1")]).succeeds();
    assert!(!dead.exists(), "nobody found it: {}", daemon.log());
    let leases = containerd.ctr_prints(&["leases", "ls", "-q"]);
    assert_eq!(leases.lines().collect::<Vec<_>>(), ["lighterman-other", "not-a-lease-of-ours"]);
    daemon.take().kill();
    daemon.restart();
    containerd.ctr_prints(&["images", "rm", "--sync", &liar.reference("app:1")]);
    daemon.user().run(&["pull", &liar.reference("app:1")]).succeeds();
    assert!(contents(&staging, &stay) == before, "something of somebody else's was changed");
}

#[test]
fn of_trees_in_a_workspace_only_those_of_dead_sessions_go() {
    let containerd = ContainerdDaemon::start();
    let trees = containerd.folder().join("root/io.containerd.snapshotter.v1.overlayfs/lighterman");
    let session = |number: u64| format!("{number:016x}");
    let (dead, living) = (session(1), session(2));
    for name in
        ["lost+found/tree", "session-v2.0/0/etc/shadow", &format!("{dead}/0/etc/shadow"), &format!("{living}/0/file")]
    {
        put(&trees.join(name), "x");
    }
    put(&trees.join(session(3)), "a file");
    symlink("lost+found", trees.join(session(4))).expect("a writable folder");
    let lock = fs::File::open(trees.join(&living)).expect("it was made");
    lock.try_lock().expect("nobody else has it");

    let liar = Liar::serving(&image_of(&[5_000]), "app:1");
    let mut daemon = Daemon::start(&containerd);
    daemon.user().run(&["pull", &liar.reference("app:1")]).succeeds();
    daemon.take().signal(nix::sys::signal::Signal::SIGTERM);
    assert!(!trees.join(&dead).exists(), "{}", daemon.log());
    let living = format!("{living}/0/file");
    let (file, link) = (session(3), session(4));
    let stay = ["lost+found/tree", "session-v2.0/0/etc/shadow", &living, &file, &link];
    assert_eq!(contents(&trees, &stay).len(), stay.len());
}
