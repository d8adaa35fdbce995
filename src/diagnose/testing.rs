//! Layers for the tests of this room.

pub(crate) mod image;

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;

use super::rootfs::blobs::{Blob, Blobs};

/// One entry of a test layer.
pub(crate) enum Item<'a> {
    File(&'a str, &'a [u8]),
    /// A file that nobody may execute.
    Data(&'a str, &'a [u8]),
    Directory(&'a str),
    Symlink(&'a str, &'a str),
    HardLink(&'a str, &'a str),
}

/// An uncompressed layer; paths are written as they are, however odd.
pub(crate) fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let (path, kind, data, link) = match item {
            Item::File(path, data) | Item::Data(path, data) => (path, EntryType::Regular, *data, ""),
            Item::Directory(path) => (path, EntryType::Directory, b"".as_slice(), ""),
            Item::Symlink(path, target) => (path, EntryType::Symlink, b"".as_slice(), *target),
            Item::HardLink(path, target) => (path, EntryType::Link, b"".as_slice(), *target),
        };
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_link_name_literal(link).expect("a short link");
        header.set_size(data.len() as u64);
        header.set_mode(if matches!(item, Item::Data(..)) { 0o644 } else { 0o755 });
        header.set_cksum();
        builder.append(&header, data).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    });
    next.take(length).collect()
}

/// The same bytes, gzipped.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written to memory");
    encoder.finish().expect("written to memory")
}

/// A layer that can be read in parts: each file compressed for itself, and a list at the end.
pub(crate) struct Seekable {
    pub(crate) blob: Vec<u8>,
    pub(crate) descriptor: Descriptor,
}

type Pack = fn(&[u8]) -> Vec<u8>;

/// The blob without its list, and the entries of that.
fn packed(items: &[Item<'_>], pack: Pack) -> (Vec<u8>, Vec<Value>) {
    let (mut blob, mut pending, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        let whole = tar(std::slice::from_ref(item));
        let (header, rest) = whole[..whole.len() - 1024].split_at(512);
        pending.extend_from_slice(header);
        let (kind, name, link, size) = match item {
            Item::File(name, data) | Item::Data(name, data) => ("reg", *name, "", data.len()),
            Item::Directory(name) => ("dir", *name, "", 0),
            Item::Symlink(name, link) => ("symlink", *name, *link, 0),
            Item::HardLink(name, link) => ("hardlink", *name, *link, 0),
        };
        let mut entry = json!({ "type": kind, "name": name, "linkName": link, "mode": 0o755, "size": size });
        if size > 0 {
            blob.extend(pack(&std::mem::take(&mut pending)));
            entry["offset"] = blob.len().into();
            blob.extend(pack(rest));
        }
        entries.push(entry);
    }
    pending.extend([0; 1024]);
    blob.extend(pack(&pending));
    (blob, entries)
}

pub(crate) fn estargz(items: &[Item<'_>]) -> Seekable {
    let (mut blob, entries) = packed(items, gzip);
    let json = json!({ "version": 1, "entries": entries }).to_string();
    let offset = blob.len();
    blob.extend(gzip(&tar(&[Item::File("stargz.index.json", json.as_bytes())])));
    blob.extend([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0]);
    blob.extend(format!("{offset:016x}STARGZ").into_bytes());
    blob.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut descriptor = descriptor(&blob);
    let digest = Digest::of(json.as_bytes()).to_string();
    descriptor.annotations.insert("containerd.io/snapshot/stargz/toc.digest".into(), digest);
    Seekable { blob, descriptor }
}

pub(crate) fn zstd_chunked(items: &[Item<'_>]) -> Seekable {
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("written to memory");
    let (mut blob, entries) = packed(items, pack);
    let json = json!({ "version": 1, "entries": entries }).to_string();
    let list = pack(json.as_bytes());
    blob.extend([0x50, 0x2a, 0x4d, 0x18]);
    blob.extend(u32::try_from(list.len()).expect("a short list").to_le_bytes());
    let position = format!("{}:{}:{}:1", blob.len(), list.len(), json.len());
    blob.extend(&list);
    let mut descriptor = descriptor(&blob);
    let prefix = "io.github.containers.zstd-chunked.manifest";
    descriptor.annotations.insert(format!("{prefix}-position"), position);
    descriptor.annotations.insert(format!("{prefix}-checksum"), Digest::of(&list).to_string());
    Seekable { blob, descriptor }
}

/// Blobs in memory, which stand for some of a store or of a registry.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    blobs: HashMap<Digest, Bytes>,
    is_local: bool,
}

impl Shelf {
    fn new(blobs: impl IntoIterator<Item = Vec<u8>>, is_local: bool) -> Self {
        let blobs = blobs.into_iter().map(|blob| (Digest::of(&blob), blob.into())).collect();
        Self { blobs, is_local }
    }

    pub(crate) fn local(blobs: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::new(blobs, true)
    }

    /// Gives other bytes than those that were asked for.
    pub(crate) fn lying(digest: &Digest, blob: Vec<u8>) -> Self {
        Self { blobs: HashMap::from([(digest.clone(), blob.into())]), is_local: false }
    }

    pub(crate) fn remote(blobs: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::new(blobs, false)
    }
}

/// What a manifest says of a layer.
pub(crate) fn descriptor(blob: &[u8]) -> Descriptor {
    let media_type = MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip");
    Descriptor::new(media_type, Digest::of(blob), blob.len() as u64)
}

impl Blobs for Shelf {
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>> {
        let bytes = self.blobs.get(&layer.digest).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Box::new(Book { bytes, is_local: self.is_local, received: 0, requests: 0 }))
    }
}

struct Book {
    bytes: Bytes,
    is_local: bool,
    received: u64,
    requests: usize,
}

impl Blob for Book {
    fn read(&mut self, range: Range<u64>, most: u64) -> io::Result<Bytes> {
        assert!(range.end - range.start <= most, "more is asked for than may be received");
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        if !self.is_local {
            self.received += bytes.len() as u64;
            self.requests += 1;
        }
        Ok(bytes)
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn requests(&self) -> usize {
        self.requests
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn does_ranges(&self) -> bool {
        true
    }
}
