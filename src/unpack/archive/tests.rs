//! The reader against archives of every format, made here byte by byte or by the `tar` crate.

mod damage;
mod make;
mod oddities;
mod properties;
mod sparse;

use std::convert::Infallible;

use super::*;
use make::*;

/// What came out of an archive, content put together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    entry: Entry,
    /// Runs of content; adjacent ones are one.
    content: Vec<(u64, Vec<u8>)>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Collector(Vec<Seen>);

impl Sink for Collector {
    type Error = Infallible;

    fn entry(&mut self, entry: Entry) -> Result<(), Infallible> {
        assert!(self.0.last().is_none_or(|last| last.ended), "an entry within an entry");
        self.0.push(Seen { entry, content: Vec::new(), ended: false });
        Ok(())
    }

    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        let last = self.0.last_mut().expect("content after an entry");
        assert!(!last.ended && !bytes.is_empty(), "content of nothing");
        match last.content.last_mut() {
            Some((at, run)) if *at + run.len() as u64 == offset => run.extend_from_slice(bytes),
            _ => last.content.push((offset, bytes.to_vec())),
        }
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), Infallible> {
        let last = self.0.last_mut().expect("an entry to end");
        assert!(!last.ended, "an entry ended twice");
        last.ended = true;
        Ok(())
    }
}

/// Reads an archive pushed in pieces of these sizes, over and over; what it held up to the
/// fault, and the fault.
fn read_in(bytes: &[u8], pieces: &[usize], limits: &Limits) -> (Vec<Seen>, Result<(), Fault>) {
    let mut archive = Archive::new(limits);
    let mut sink = Collector::default();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).clamp(1, rest.len()));
        if let Err(ArchiveError::Archive(fault)) = archive.push(now, &mut sink) {
            archive.finish().expect_err("a failed archive stays failed");
            return (sink.0, Err(fault));
        }
        rest = later;
    }
    (sink.0, archive.finish())
}

/// Reads an archive that has to be valid.
fn read(bytes: &[u8]) -> Vec<Seen> {
    let (seen, result) = read_in(bytes, &[usize::MAX], &Limits::default());
    result.expect("a valid archive");
    assert!(seen.iter().all(|seen| seen.ended), "an entry without an end");
    seen
}

/// The one entry of an archive.
fn only(bytes: &[u8]) -> Entry {
    let mut seen = read(bytes);
    assert_eq!(seen.len(), 1, "one entry");
    seen.remove(0).entry
}

/// The fault of an archive that has to have one.
fn fault(bytes: &[u8]) -> Fault {
    read_in(bytes, &[usize::MAX], &Limits::default()).1.expect_err("a fault")
}

fn paths(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| String::from_utf8_lossy(&seen.entry.path).into_owned()).collect()
}

fn at(seconds: i64, nanos: u32) -> Time {
    Time { seconds, nanos }
}

#[test]
fn reads_what_the_tar_crate_writes() {
    let long = "directory/".repeat(30) + "file";
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o6755);
    header.set_uid(1000);
    header.set_gid(100);
    header.set_mtime(1_234_567_890);
    header.set_size(5);
    builder.append_data(&mut header, &long, &b"hello"[..]).expect("written to memory");
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "link", &long).expect("written to memory");
    header.set_entry_type(tar::EntryType::Char);
    header.set_device_major(5).expect("a small number");
    header.set_device_minor(1).expect("a small number");
    builder.append_data(&mut header, "dev/console", &b""[..]).expect("written to memory");
    let seen = read(&builder.into_inner().expect("written to memory"));

    assert_eq!(paths(&seen), [long.as_str(), "link", "dev/console"]);
    let file = &seen[0].entry;
    assert_eq!(file.kind, Kind::File { size: 5 });
    assert_eq!((file.mode, file.uid, file.gid), (0o6755, 1000, 100));
    assert_eq!((file.modified, file.accessed), (at(1_234_567_890, 0), None));
    assert_eq!(seen[0].content, [(0, b"hello".to_vec())]);
    assert_eq!(seen[1].entry.kind, Kind::Symlink(long.into_bytes()));
    assert_eq!(seen[2].entry.kind, Kind::Char { major: 5, minor: 1 });
}

#[test]
fn tells_every_type_flag() {
    let name = |flag: u8| Header { flag, link: b"target".to_vec(), major: 8, minor: 1, ..Header::default() };
    let cases = [
        (0, Kind::File { size: 0 }),
        (b'0', Kind::File { size: 0 }),
        (b'1', Kind::HardLink(b"target".to_vec())),
        (b'2', Kind::Symlink(b"target".to_vec())),
        (b'3', Kind::Char { major: 8, minor: 1 }),
        (b'4', Kind::Block { major: 8, minor: 1 }),
        (b'5', Kind::Directory),
        (b'6', Kind::Fifo),
        (b'7', Kind::Unsupported { flag: b'7' }),
        (b'V', Kind::Unsupported { flag: b'V' }),
        (b'X', Kind::Unsupported { flag: b'X' }),
        (0xff, Kind::Unsupported { flag: 0xff }),
    ];
    for (flag, kind) in cases {
        assert_eq!(only(&name(flag).bytes()).kind, kind, "{}", flag.escape_ascii());
    }
}

#[test]
fn only_the_oldest_type_flag_makes_a_directory_of_a_slash() {
    let named = |flag| Header { flag, name: b"name/".to_vec(), ..Header::default() };
    assert_eq!(only(&named(0).bytes()).kind, Kind::Directory);
    assert_eq!(only(&named(b'0').bytes()).kind, Kind::File { size: 0 });
    // The name that counts is the one that extended headers leave.
    let renamed = [pax(&[("path", "long/")]), Header::default().flagged(0).bytes()].concat();
    assert_eq!(only(&renamed).kind, Kind::Directory);
    // Such a directory has no content, whatever its size says.
    let sized = Header { size: 700, ..named(0) };
    assert_eq!(paths(&read(&[sized.bytes(), Header::default().bytes()].concat())), ["name/", "name"]);
}

#[test]
fn header_only_types_have_no_content() {
    for flag in b'1'..=b'6' {
        let sized = Header { flag, size: 4096, ..Header::default() };
        let seen = read(&[sized.bytes(), file("next", b"content")].concat());
        assert_eq!(paths(&seen), ["name", "next"], "{}", flag.escape_ascii());
        let negative = Header { flag, size: -1, ..Header::default() };
        assert_eq!(read(&negative.bytes()).len(), 1, "{}", flag.escape_ascii());
    }
}

#[test]
fn content_of_unsupported_types_is_skipped() {
    let odd = Header { flag: b'7', size: 700, ..Header::default() };
    let seen = read(&[odd.bytes(), padded(&[b'c'; 700]), file("next", b"content")].concat());
    assert_eq!(paths(&seen), ["name", "next"]);
    assert_eq!(seen[0].content, []);
    assert_eq!(seen[1].content, [(0, b"content".to_vec())]);
}

#[test]
fn joins_the_prefix_of_ustar_and_star() {
    let prefixed = |format| Header { format, prefix: b"some/where".to_vec(), ..Header::default() };
    assert_eq!(only(&prefixed(Magic::Ustar).bytes()).path, b"some/where/name");
    assert_eq!(only(&prefixed(Magic::Star).bytes()).path, b"some/where/name");
    assert_eq!(only(&prefixed(Magic::V7).bytes()).path, b"name");
    let full = Header { name: vec![b'n'; 100], prefix: vec![b'p'; 155], ..Header::default() };
    assert_eq!(only(&full.bytes()).path.len(), 256);
}

#[test]
fn reads_the_access_time_of_gnu_and_star() {
    let timed = |format, text: &[u8; 12]| {
        let mut block = Header { format, ..Header::default() }.bytes();
        let place = if format == Magic::Star { 476 } else { 345 };
        block[place..place + 12].copy_from_slice(text);
        only(&summed(block))
    };
    assert_eq!(timed(Magic::Gnu, b"00000000017\0").accessed, Some(at(15, 0)));
    assert_eq!(timed(Magic::Star, b"00000000017\0").accessed, Some(at(15, 0)));
    assert_eq!(timed(Magic::Star, b"\0\0\0\0\0\0\0\0\0\0\0\0").accessed, Some(at(0, 0)));
    assert_eq!(timed(Magic::Gnu, b"\0\0\0\0\0\0\0\0\0\0\0\0").accessed, None);
    // Go once wrote prefixes where GNU has its times.
    let mistaken = timed(Magic::Gnu, b"some/where\0\0");
    assert_eq!((mistaken.path.as_slice(), mistaken.accessed), (&b"some/where/name"[..], None));
    assert_eq!(timed(Magic::Gnu, b"some/w\xffere\0\0").path, b"name");
}
