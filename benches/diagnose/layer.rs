//! Writes layers in every packing that is in use.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::Digest;
use serde_json::{Value, json};
use sha2::Digest as _;
use tar::{EntryType, Header};

/// The end of an archive.
const END: [u8; 1024] = [0; 1024];

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
    /// Each file for itself, with a list at the end.
    Estargz,
    Chunked,
}

/// What is in a layer.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Directory(String),
    /// A file of this machine.
    File(String, PathBuf),
    Text(String, &'static str),
    Symlink(String, String),
    HardLink(String, String),
}

/// A layer in a file.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) descriptor: Descriptor,
    pub(crate) path: PathBuf,
}

/// Counts and hashes what goes to a file.
struct Hashing {
    file: BufWriter<File>,
    hash: sha2::Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Hashing {
    fn finish(mut self, packing: Packing, path: PathBuf) -> Layer {
        self.flush().expect("room in TMPDIR");
        let hex = self.hash.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let suffix = match packing {
            Packing::Plain => "",
            Packing::Gzip | Packing::Estargz => "+gzip",
            Packing::Zstd | Packing::Chunked => "+zstd",
        };
        let media_type = MediaType::parse(&format!("application/vnd.oci.image.layer.v1.tar{suffix}"));
        let digest = format!("sha256:{hex}").parse().expect("a digest");
        Layer { descriptor: Descriptor::new(media_type, digest, self.bytes), path }
    }
}

/// Writes a layer, until it has so many bytes.
pub(crate) fn write(path: PathBuf, packing: Packing, most: u64, items: &mut dyn Iterator<Item = Item>) -> Layer {
    let file = BufWriter::new(File::create(&path).expect("a writable TMPDIR"));
    let mut out = Hashing { file, hash: sha2::Sha256::new(), bytes: 0 };
    match packing {
        Packing::Plain => stream(&mut out, |out| out, |out| out.bytes < most, items),
        Packing::Gzip => {
            let mut gzip = GzEncoder::new(out, Compression::fast());
            stream(&mut gzip, |gzip| gzip, |gzip| gzip.get_ref().bytes < most, items);
            out = gzip.finish().expect("room in TMPDIR");
        }
        Packing::Zstd => {
            let mut zstd = zstd::stream::write::Encoder::new(out, 1).expect("an encoder");
            stream(&mut zstd, |zstd| zstd, |zstd| zstd.get_ref().bytes < most, items);
            out = zstd.finish().expect("room in TMPDIR");
        }
        Packing::Estargz | Packing::Chunked => return seekable(out, path, packing, most, items),
    }
    out.finish(packing, path)
}

fn stream<W>(
    writer: &mut W,
    out: fn(&mut W) -> &mut dyn Write,
    may_go_on: impl Fn(&W) -> bool,
    items: &mut dyn Iterator<Item = Item>,
) {
    while may_go_on(writer)
        && let Some(item) = items.next()
    {
        let (header, content) = entry(&item);
        let out = out(writer);
        out.write_all(&header).and_then(|()| out.write_all(&content)).expect("room in TMPDIR");
    }
    out(writer).write_all(&END).expect("room in TMPDIR");
}

/// Header and padded content.
fn entry(item: &Item) -> (Vec<u8>, Vec<u8>) {
    let (name, kind, link, mut content) = match item {
        Item::Directory(name) => (name, EntryType::Directory, "", Vec::new()),
        Item::File(name, path) => (name, EntryType::Regular, "", std::fs::read(path).expect("a readable file")),
        Item::Text(name, text) => (name, EntryType::Regular, "", text.as_bytes().to_vec()),
        Item::Symlink(name, link) => (name, EntryType::Symlink, link.as_str(), Vec::new()),
        Item::HardLink(name, link) => (name, EntryType::Link, link.as_str(), Vec::new()),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_path(name).expect("a short name");
    header.set_link_name_literal(link).expect("a short link");
    header.set_cksum();
    content.resize(content.len().next_multiple_of(512), 0);
    (header.as_bytes().to_vec(), content)
}

fn seekable(
    mut out: Hashing,
    path: PathBuf,
    packing: Packing,
    most: u64,
    items: &mut dyn Iterator<Item = Item>,
) -> Layer {
    let (mut pending, mut entries) = (Vec::new(), Vec::new());
    while out.bytes < most
        && let Some(item) = items.next()
    {
        let (header, content) = entry(&item);
        pending.extend(header);
        let mut row = row(&item);
        if !content.is_empty() {
            out.write_all(&pack(packing, &std::mem::take(&mut pending))).expect("room in TMPDIR");
            row["offset"] = out.bytes.into();
            out.write_all(&pack(packing, &content)).expect("room in TMPDIR");
        }
        entries.push(row);
    }
    pending.extend(END);
    out.write_all(&pack(packing, &pending)).expect("room in TMPDIR");
    let json = json!({ "version": 1, "entries": entries }).to_string();
    let annotations =
        if packing == Packing::Estargz { stargz_list(&mut out, &json) } else { chunked_list(&mut out, &json) };
    let mut layer = out.finish(packing, path);
    layer.descriptor.annotations.extend(annotations);
    layer
}

fn row(item: &Item) -> Value {
    match item {
        Item::Directory(name) => json!({ "type": "dir", "name": name, "mode": 0o755 }),
        Item::File(name, path) => {
            let size = std::fs::metadata(path).expect("a readable file").len();
            // As long as real lists are, which have a digest of each file; nobody reads this one.
            let digest = Digest::of(name.as_bytes()).to_string();
            json!({ "type": "reg", "name": name, "mode": 0o755, "size": size, "uid": 0, "gid": 0,
                    "modtime": "2024-01-01T00:00:00Z", "digest": digest })
        }
        Item::Text(name, text) => json!({ "type": "reg", "name": name, "mode": 0o755, "size": text.len() }),
        Item::Symlink(name, link) => json!({ "type": "symlink", "name": name, "linkName": link, "mode": 0o777 }),
        Item::HardLink(name, link) => json!({ "type": "hardlink", "name": name, "linkName": link, "mode": 0o755 }),
    }
}

fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    if packing == Packing::Chunked {
        return zstd::encode_all(bytes, 1).expect("memory");
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

fn stargz_list(out: &mut Hashing, json: &str) -> Vec<(String, String)> {
    let offset = out.bytes;
    let mut header = Header::new_gnu();
    header.set_path("stargz.index.json").expect("a short name");
    header.set_size(json.len() as u64);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut list = [header.as_bytes(), json.as_bytes()].concat();
    list.resize(list.len().next_multiple_of(512), 0);
    list.extend(END);
    out.write_all(&pack(Packing::Estargz, &list)).expect("room in TMPDIR");
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0];
    footer.extend(format!("{offset:016x}STARGZ").into_bytes());
    footer.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.write_all(&footer).expect("room in TMPDIR");
    vec![("containerd.io/snapshot/stargz/toc.digest".into(), Digest::of(json.as_bytes()).to_string())]
}

fn chunked_list(out: &mut Hashing, json: &str) -> Vec<(String, String)> {
    let list = pack(Packing::Chunked, json.as_bytes());
    let length = u32::try_from(list.len()).expect("a short list");
    out.write_all(&[0x50, 0x2a, 0x4d, 0x18])
        .and_then(|()| out.write_all(&length.to_le_bytes()))
        .expect("room in TMPDIR");
    let position = format!("{}:{length}:{}:1", out.bytes, json.len());
    out.write_all(&list).expect("room in TMPDIR");
    let prefix = "io.github.containers.zstd-chunked.manifest";
    vec![(format!("{prefix}-position"), position), (format!("{prefix}-checksum"), Digest::of(&list).to_string())]
}
