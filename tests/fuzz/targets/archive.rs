//! The reader of tar archives: in which pieces the bytes come must not matter.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use lighterman::core::limits::Limits;
use lighterman::unpack::archive::{Archive, ArchiveError, Entry, Fault, Kind, Sink};
use lighterman_fuzz::{Sizes, heap};

fuzz_target!(|data: &[u8]| {
    check(data);
    // A changed header has a wrong checksum, and nothing behind it would ever be read.
    let summed = summed(data);
    if summed != data {
        check(&summed);
    }
});

fn check(data: &[u8]) {
    let limits =
        Limits { layer_inflated_bytes: 1 << 20, tar_pax_bytes: 4096, tar_name_bytes: 256, ..Limits::default() };
    // Content is kept here as well; a map of a sparse file may have a run for each two bytes.
    let (seen, fault) = heap::within((1 << 20) + 400 * data.len(), || read(&[data], &limits));
    assert_eq!(read(&Sizes::of(data).cut(data, 1200), &limits), (seen.clone(), fault.clone()), "in pieces");
    assert_eq!(read(&Sizes::of(data).cut(data, 24), &limits), (seen.clone(), fault), "in small pieces");
    for Seen { entry, content, .. } in seen {
        let size = if let Kind::File { size } = entry.kind { size } else { 0 };
        assert!(content.last().is_none_or(|(at, run)| at + run.len() as u64 <= size), "content behind the end");
        assert!(content.windows(2).all(|pair| pair[0].0 + (pair[0].1.len() as u64) < pair[1].0), "runs overlap");
        assert!(entry.path.len() <= limits.tar_name_bytes && entry.mode <= 0o7777);
        assert!(entry.modified.nanos < 1_000_000_000);
    }
}

/// The same archive with the checksum right in every block that looks like a header.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    entry: Entry,
    /// Runs of content; adjacent ones are one.
    content: Vec<(u64, Vec<u8>)>,
    ended: bool,
}

#[derive(Default)]
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

fn read(pieces: &[&[u8]], limits: &Limits) -> (Vec<Seen>, Result<(), Fault>) {
    let mut archive = Archive::new(limits);
    let mut sink = Collector::default();
    for piece in pieces {
        if let Err(ArchiveError::Archive(fault)) = archive.push(piece, &mut sink) {
            archive.finish().expect_err("a failed archive stays failed");
            return (sink.0, Err(fault));
        }
    }
    (sink.0, archive.finish())
}
