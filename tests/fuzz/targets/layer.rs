//! A layer as diagnosis walks it: compressed or not, with and without a look into each file, and
//! beside the reader that unpacks.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use lighterman::core::limits::Limits;
use lighterman::diagnose::layer::Entries;
use lighterman::unpack::archive::{Archive, Entry, Kind, Sink};
use lighterman_fuzz::Sizes;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { layer_inflated_bytes: 1 << 20, ..Limits::default() };
    let mut sizes = Sizes::of(data);
    let (passed, passed_end) = walk(data, &limits, || 0);
    let (looked_into, end) = walk(data, &limits, || sizes.below(2000));
    assert!(passed.iter().map(|(entry, _)| entry).eq(looked_into.iter().map(|(entry, _)| entry)));
    assert_eq!(passed_end, end, "looking into files changes nothing");
    for (entry, content) in &looked_into {
        let size = if let Kind::File { size } = entry.kind { size } else { 0 };
        assert!(content.len() as u64 <= size, "{} bytes of {size}", content.len());
    }
    let compressed = data.starts_with(&[0x1f, 0x8b])
        || data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || matches!(data, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    if !compressed {
        let (mut archive, mut sink) = (Archive::new(&limits), Names::default());
        let result = archive.push(data, &mut sink).is_ok() && archive.finish().is_ok();
        assert_eq!(result, end);
        assert!(passed.iter().map(|(entry, _)| entry).eq(&sink.0), "diagnosis sees what is unpacked");
    }
});

fn walk(data: &[u8], limits: &Limits, mut wanted: impl FnMut() -> usize) -> (Vec<(Entry, Vec<u8>)>, bool) {
    let mut seen = Vec::new();
    let mut entries = Entries::open(data, 1, limits);
    loop {
        let entry = match entries.advance() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (seen, true),
            Err(_) => return (seen, false),
        };
        let limit = wanted();
        let content = if limit == 0 { Ok(Vec::new()) } else { entries.content(limit) };
        let failed = content.is_err();
        let content = content.unwrap_or_default();
        assert!(content.len() <= limit, "more than was asked for");
        seen.push((entry, content));
        if failed {
            return (seen, false);
        }
    }
}

#[derive(Default)]
struct Names(Vec<Entry>);

impl Sink for Names {
    type Error = Infallible;

    fn entry(&mut self, entry: Entry) -> Result<(), Infallible> {
        self.0.push(entry);
        Ok(())
    }

    fn content(&mut self, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
