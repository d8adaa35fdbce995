use super::*;
use crate::core::descriptor::MediaType;
use crate::core::digest::{Mismatch, Verified};
use futures_util::FutureExt;

pub(super) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::Other("x".into()), Digest::of(content), content.len() as u64)
}

pub(super) fn begin(staging: &Staging, blob: &Descriptor) -> Arc<Partial> {
    match staging.begin(blob).expect("begins") {
        Turn::Ours(partial) => partial,
        Turn::Taken => panic!("the blob is taken"),
    }
}

/// What the hash task says of a blob of which all bytes are there.
fn verdict(partial: &Arc<Partial>) -> Result<Verified<Staged>, PartialError> {
    assert_eq!(partial.missing(), [], "it would wait for them for ever");
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(partial.verify())
}

fn names_in(staging: &Staging) -> Vec<String> {
    let entries = std::fs::read_dir(staging.root()).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn staging() -> (tempfile::TempDir, Staging) {
    let folder = tempfile::tempdir().expect("folder");
    let staging = Staging::new(folder.path().join("staging"));
    (folder, staging)
}

#[test]
fn continues_where_it_was_interrupted() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"a barge on the river");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"a barge ", "one:1").expect("writes");
    partial.write_at(11, b"the", "two:1").expect("writes");
    assert_eq!((partial.frontier(), partial.written()), (8, 11));
    drop(partial);
    let partial = begin(&staging, &blob);
    assert_eq!((partial.frontier(), partial.inherited()), (8, 11));
    assert_eq!(partial.missing(), [8..11, 14..20]);
    partial.write_at(8, b"on ", "one:1").expect("writes");
    partial.write_at(14, b" river", "one:1").expect("writes");
    let staged = verdict(&partial).expect("is right");
    drop(partial);
    assert_eq!(std::fs::read(staged.content().path()).expect("reads"), b"a barge on the river");
    staged.content().adopted();
    drop(staged);
    staging.tidy();
    assert!(!staging.root().exists());
}

#[test]
fn a_staged_blob_that_no_store_took_stays() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"car", "a").expect("writes");
    partial.write_at(3, b"go", "a").expect("writes");
    drop(verdict(&partial).expect("is right"));
    drop(partial);
    let partial = begin(&staging, &blob);
    assert_eq!((partial.missing(), partial.inherited()), (vec![], 5));
    verdict(&partial).expect("is right still");
}

#[test]
fn several_writers_write_every_byte_once() {
    let (_folder, staging) = staging();
    let content: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = descriptor(&content);
    let partial = begin(&staging, &blob);
    let verified = std::thread::scope(|scope| {
        for writer in 0..4_usize {
            let (partial, content) = (&partial, &content);
            scope.spawn(move || {
                // Overlapping pieces in another order each: whoever is first, the bytes are the same.
                for step in 0..content.len().div_ceil(1000) {
                    let at = (step * (2 * writer + 1) * 1000) % content.len().next_multiple_of(1000);
                    let piece = &content[at.min(content.len())..(at + 1500).min(content.len())];
                    partial.write_at(at as u64, piece, &format!("host{writer}")).expect("writes");
                }
            });
        }
        let cpu = crate::cpu::Cpu::new();
        let task = cpu.spawn(crate::cpu::Priority::HASH, partial.verify());
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(task)
    });
    let staged = verified.expect("is right");
    assert_eq!(std::fs::read(staged.content().path()).expect("reads"), content);
    partial.write_at(0, b"late", "host9").expect("is not needed");
    assert_eq!(std::fs::read(staged.content().path()).expect("reads"), content, "nothing is written twice");
}

#[test]
fn followers_see_the_frontier_and_the_verdict() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let partial = begin(&staging, &blob);
    let mut follower = partial.follow();
    let mut buffer = [0; 8];
    partial.write_at(3, b"go", "a").expect("writes");
    assert!(follower.read(&mut buffer).now_or_never().is_none());
    partial.write_at(0, b"car", "a").expect("writes");
    let read = follower.read(&mut buffer).now_or_never().expect("is there");
    assert_eq!((read.expect("reads"), &buffer[..5]), (5, &b"cargo"[..]));
    assert!(follower.verified().now_or_never().is_none());
    let staged = verdict(&partial).expect("is right");
    follower.verified().now_or_never().expect("is known").expect("held");
    drop((partial, staged));
    follower.verified().now_or_never().expect("is known").expect("stays known");
}

#[test]
fn one_writer_at_a_time() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let first = begin(&staging, &blob);
    assert!(matches!(staging.begin(&blob), Ok(Turn::Taken)));
    drop(first);
    assert!(matches!(staging.begin(&blob), Ok(Turn::Ours(_))));
}

#[test]
fn a_blob_of_which_nothing_came_leaves_no_file() {
    let (_folder, staging) = staging();
    drop(begin(&staging, &descriptor(b"cargo")));
    assert_eq!(names_in(&staging), [""; 0]);
}

#[test]
fn a_second_name_of_an_adopted_blob_is_forgotten_unless_somebody_writes_it() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let writing = begin(&staging, &blob);
    writing.write_at(0, b"car", "a").expect("writes");
    staging.forget(&blob.digest);
    assert!(staging.path_of(&blob.digest).exists(), "it is being written");
    drop(writing);
    staging.forget(&blob.digest);
    staging.tidy();
    assert!(!staging.root().exists());
}

#[test]
fn a_file_that_was_adopted_meanwhile_is_not_written_to() {
    let (folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let first = begin(&staging, &blob);
    first.write_at(0, b"cargo", "a").expect("writes");
    let staged = verdict(&first).expect("is right");
    let waiting = File::open(staged.content().path()).expect("opens");
    std::fs::hard_link(staged.content().path(), folder.path().join("adopted")).expect("links");
    let path = staged.content().path().to_owned();
    staged.content().adopted();
    drop((first, staged));
    assert!(!names(&path, &waiting));
}

#[test]
fn a_second_name_without_a_journal_is_not_emptied() {
    let (folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let first = begin(&staging, &blob);
    first.write_at(0, b"cargo", "a").expect("writes");
    let staged = verdict(&first).expect("is right");
    let adopted = folder.path().join("adopted");
    std::fs::hard_link(staged.content().path(), &adopted).expect("links");
    // As after a kill before the staging name was removed.
    drop((first, staged));
    let partial = begin(&staging, &blob);
    assert_eq!(partial.frontier(), 0);
    partial.write_at(0, b"barge", "a").expect("writes");
    assert_eq!(std::fs::read(adopted).expect("reads"), b"cargo");
}

#[test]
fn missing_bytes_stay_and_too_many_are_refused() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"car", "a").expect("writes");
    for (offset, bytes) in [(3, &b"goes"[..]), (5, b"x"), (u64::MAX, b"x")] {
        let refused = partial.write_at(offset, bytes, "a");
        assert!(matches!(refused, Err(PartialError::Mismatch(Mismatch::TooLong { .. }))), "{offset}");
    }
    drop(partial);
    assert_eq!(begin(&staging, &blob).frontier(), 3);
}

#[test]
fn wrong_bytes_are_compared_with_the_right_ones() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"a barge on the river");
    let early = begin(&staging, &blob);
    early.write_at(18, b"ER", "early").expect("writes");
    drop(early);
    let wrong = begin(&staging, &blob);
    let mut follower = wrong.follow();
    wrong.write_at(0, b"a barge ", "honest").expect("writes");
    wrong.write_at(8, b"on THE", "liar").expect("writes");
    wrong.write_at(14, b" riv", "honest").expect("writes");
    assert!(matches!(verdict(&wrong), Err(PartialError::Mismatch(Mismatch::Digest { .. }))));
    let suspect = wrong.suspect();
    let void = follower.read(&mut [0; 8]).now_or_never().expect("is told");
    assert!(matches!(void, Err(FollowError::Discarded)));
    assert!(matches!(wrong.write_at(0, b"a", "late"), Err(PartialError::Store(StoreError::Discarded { .. }))));
    drop(wrong);
    assert!(suspect.is_inherited());
    assert_eq!(suspect.hosts(), ["honest", "liar"]);

    let right = begin(&staging, &blob);
    assert_eq!(right.frontier(), 0, "it starts again");
    right.write_at(0, b"a barge on the river", "upstream").expect("writes");
    let staged = verdict(&right).expect("is right");
    let culprits = suspect.blame(&staged).expect("compares");
    let culprits: Vec<_> = culprits.iter().map(|culprit| (&*culprit.host, culprit.inherited)).collect();
    assert_eq!(culprits, [("early", true), ("liar", false)]);
    staged.content().adopted();
    drop((right, staged));
    assert_eq!(names_in(&staging), [""; 0]);
}

#[test]
fn what_is_discarded_is_gone() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"bar", "a").expect("writes");
    partial.discard();
    drop(partial);
    assert_eq!(names_in(&staging), [""; 0]);
}

#[test]
fn leftovers_that_nothing_can_be_made_of_are_started_again() {
    let blob = descriptor(b"cargo");
    let sound =
        format!("lighterman-journal 1 {} 5\nboot x\nw 00000000000000000000 00000000000000000003 a\ns 1\n", blob.digest);
    let cases = [
        ("no journal", &b"car"[..], None),
        ("more than there should be", b"cargo and more", Some(sound.clone())),
        ("less than the journal says", b"ca", Some(sound.clone())),
        ("garbage", b"car", Some("lighterman\n".into())),
        ("another version", b"car", Some(sound.replace("journal 1", "journal 2"))),
    ];
    for (case, bytes, journal) in cases {
        let (_folder, staging) = staging();
        staging.create_dir().expect("creates");
        let path = staging.path_of(&blob.digest);
        std::fs::write(&path, bytes).expect("writes");
        if let Some(journal) = &journal {
            std::fs::write(journal_of(&path), journal).expect("writes");
        }
        assert_eq!(begin(&staging, &blob).missing(), vec![0..5; 1], "{case}");
        assert_eq!(names_in(&staging), [""; 0], "{case}");
        std::fs::write(&path, b"car").expect("writes");
        std::fs::write(journal_of(&path), &sound).expect("writes");
        assert_eq!(begin(&staging, &blob).missing(), vec![3..5; 1], "and a sound one is believed");
    }
}

#[test]
fn synced_bytes_outlive_a_boot() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"a barge on the river");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"a barge ", "a").expect("writes");
    partial.sync().expect("syncs");
    partial.write_at(8, b"on ", "a").expect("writes");
    drop(partial);
    let journal = journal_of(&staging.path_of(&blob.digest));
    let text = std::fs::read_to_string(&journal).expect("reads");
    let boot = text.lines().nth(1).expect("a boot");
    std::fs::write(&journal, text.replace(boot, "boot another")).expect("writes");
    assert_eq!(begin(&staging, &blob).missing(), vec![8..20; 1]);
}

#[test]
fn a_journal_whose_blob_was_lost_does_not_stay() {
    let (_folder, staging) = staging();
    let blob = descriptor(b"cargo");
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"car", "a").expect("writes");
    drop(partial);
    // As after a power failure before anything was synced.
    std::fs::write(staging.path_of(&blob.digest), b"").expect("writes");
    let partial = begin(&staging, &blob);
    assert_eq!(partial.missing(), vec![0..5; 1]);
    partial.write_at(0, b"cargo", "a").expect("writes");
    let staged = verdict(&partial).expect("is right");
    staged.content().adopted();
    drop((partial, staged));
    assert_eq!(names_in(&staging), [""; 0]);
}

#[test]
fn a_large_blob_is_as_long_as_what_was_written() {
    let (_folder, staging) = staging();
    let blob = Descriptor { size: 16 << 20, ..descriptor(b"cargo") };
    let partial = begin(&staging, &blob);
    partial.write_at(0, b"cargo", "a").expect("writes");
    assert_eq!(std::fs::metadata(staging.path_of(&blob.digest)).expect("is there").len(), 5);
}

#[test]
fn a_download_that_breaks_off_holds_no_more_of_the_disk_than_it_has() {
    const MIB: u64 = 1 << 20;
    let (_folder, staging) = staging();
    let blob = Descriptor { size: 16 * MIB, ..descriptor(b"cargo") };
    let partial = begin(&staging, &blob);
    if staging.held(&blob.digest) < 16 * MIB {
        return; // This file system reserves nothing.
    }
    partial.write_at(0, b"cargo", "a").expect("writes");
    partial.write_at(8 * MIB, b"barge", "a").expect("writes");
    drop(partial);
    let held = staging.held(&blob.digest);
    assert!(held < MIB, "{held} bytes of the disk are taken by ten");
    let partial = begin(&staging, &blob);
    assert_eq!(partial.missing(), [5..8 * MIB, 8 * MIB + 5..16 * MIB]);
    partial.write_at(5, &vec![0; 8 * 1024 * 1024 - 5], "a").expect("writes");
    drop(partial);
    let mut bytes = std::fs::read(staging.path_of(&blob.digest)).expect("reads");
    let rest = bytes.split_off(8 << 20);
    assert!(bytes.starts_with(b"cargo\0") && rest == b"barge", "what was there is there");
}

#[test]
fn a_read_only_leftover_is_replaced_by_who_may_and_never_while_it_is_in_use() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const NOBODY: u32 = 65534;
    let root = nix::unistd::geteuid().is_root();
    let folder = tempfile::tempdir().expect("folder");
    let staging = Staging::of_store(folder.path().join("staging"));
    let blob = descriptor(b"cargo");
    let (path, journal) = (staging.path_of(&blob.digest), journal_of(&staging.path_of(&blob.digest)));
    staging.create_dir().expect("creates");
    if root {
        for dir in [folder.path(), staging.root()] {
            chown(dir, Some(NOBODY), Some(NOBODY)).expect("gives away");
        }
    }
    let leave = || {
        std::fs::write(&path, b"cargo").expect("writes");
        std::fs::write(&journal, b"x").expect("writes");
        std::fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("sets the mode");
        std::fs::set_permissions(&journal, Permissions::from_mode(0o000)).expect("sets the mode");
    };
    // What files are to this thread alone, it is not root's.
    let begins = || {
        let (staging, blob) = (staging.clone(), blob.clone());
        let user = move || {
            if root {
                nix::unistd::setfsuid(NOBODY.into());
            }
            staging.begin(&blob)
        };
        std::thread::spawn(user).join().expect("no panic")
    };
    leave();
    let reader = File::open(&path).expect("opens");
    reader.lock().expect("locks");
    assert!(matches!(begins(), Ok(Turn::Taken)), "somebody is at it");
    drop(reader);
    let Turn::Ours(partial) = begins().expect("is replaced") else { panic!("nobody is at it") };
    assert_eq!(partial.missing(), vec![0..5; 1]);
    drop(partial);

    leave();
    std::fs::set_permissions(staging.root(), Permissions::from_mode(0o500)).expect("sets the mode");
    let error = begins().expect_err("the directory is closed");
    assert!(matches!(&error, StoreError::NotWritable { path: named, .. } if *named == path), "{error:?}");
    std::fs::set_permissions(staging.root(), Permissions::from_mode(0o700)).expect("sets the mode");
}
