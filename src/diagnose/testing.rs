//! Layers for the tests of this room.

pub(super) mod image;

use std::io::Write;

use tar::{Builder, EntryType, Header};

/// One entry of a test layer.
pub(super) enum Item<'a> {
    File(&'a str, &'a [u8]),
    Directory(&'a str),
    Symlink(&'a str, &'a str),
    HardLink(&'a str, &'a str),
}

/// An uncompressed layer; paths are written as they are, however odd.
pub(super) fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let (path, kind, data, link) = match item {
            Item::File(path, data) => (path, EntryType::Regular, *data, ""),
            Item::Directory(path) => (path, EntryType::Directory, b"".as_slice(), ""),
            Item::Symlink(path, target) => (path, EntryType::Symlink, b"".as_slice(), *target),
            Item::HardLink(path, target) => (path, EntryType::Link, b"".as_slice(), *target),
        };
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_link_name_literal(link).expect("a short link");
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, data).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

/// The same bytes, gzipped.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written to memory");
    encoder.finish().expect("written to memory")
}
