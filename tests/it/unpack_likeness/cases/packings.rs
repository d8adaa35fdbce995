//! One archive in every packing that is a layer, and in some that are none.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

use super::super::tar::{dir, file, tar};
use super::{Case, Verdict};
use crate::support::fixture::noise;

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// An archive of its own for every case: an image whose layers are there already is not unpacked.
fn archive(name: &str) -> Vec<u8> {
    let noise = file("d/noise", noise(3, 300_000));
    tar([dir("d"), noise, file("d/text", "text ".repeat(20_000)), file("d/empty", ""), file("name", name)])
}

fn gzip(bytes: &[u8], builder: GzBuilder, level: u32) -> Vec<u8> {
    let mut encoder = builder.write(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn member(bytes: &[u8]) -> Vec<u8> {
    gzip(bytes, GzBuilder::new(), 6)
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

/// A frame that decoders skip.
fn skippable(length: u32) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18], &length.to_le_bytes()[..], &vec![0xee; length as usize]].concat()
}

fn pieces(archive: &[u8], pack: impl Fn(&[u8]) -> Vec<u8>, between: &[u8]) -> Vec<u8> {
    archive.chunks(50_000).map(pack).collect::<Vec<_>>().join(between)
}

/// A frame whose length is not told, with a checksum at its end.
fn streamed(archive: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.include_checksum(true).expect("a setting");
    encoder.write_all(archive).expect("memory");
    encoder.finish().expect("memory")
}

/// A member with a name, a comment and a field of another program's.
fn named(archive: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename("layer.tar").comment("of a test").extra(b"SG\x04\0abcd".to_vec()).mtime(77);
    gzip(archive, builder, 9)
}

fn damaged(mut packed: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = packed.len() - from_end;
    packed[at] ^= 1;
    packed
}

fn cut(mut packed: Vec<u8>, bytes: usize) -> Vec<u8> {
    packed.truncate(packed.len() - bytes);
    packed
}

/// What a packing is called, the media type, and how an archive is packed.
type Packing = (&'static str, &'static str, fn(&[u8]) -> Vec<u8>);

const GOOD: [Packing; 15] = [
    ("plain", PLAIN, <[u8]>::to_vec),
    ("one member", GZIP, member),
    ("a member that is not compressed", GZIP, |tar| gzip(tar, GzBuilder::new(), 0)),
    ("a member with all of its header", GZIP, named),
    ("many members", GZIP, |tar| pieces(tar, member, b"")),
    ("empty members between others", GZIP, |tar| pieces(tar, member, &member(b""))),
    ("gzip as docker calls it", DOCKER, member),
    ("gzip that is not to be distributed", FOREIGN, member),
    ("plain that is called gzip", GZIP, <[u8]>::to_vec),
    ("zstd that is called gzip", GZIP, frame),
    ("one frame", ZSTD, frame),
    ("a frame of unknown length", ZSTD, streamed),
    ("many frames", ZSTD, |tar| pieces(tar, frame, b"")),
    ("frames to skip", ZSTD, |tar| [skippable(7), pieces(tar, frame, &skippable(0)), skippable(100_000)].concat()),
    ("gzip that is called zstd", ZSTD, member),
];

const BAD: [Packing; 10] = [
    ("gzip that is called plain", PLAIN, member),
    ("a member with a wrong sum", GZIP, |tar| damaged(member(tar), 6)),
    ("a member with a wrong length", GZIP, |tar| damaged(member(tar), 2)),
    ("a member that is cut off", GZIP, |tar| cut(member(tar), 1000)),
    ("a member without its end", GZIP, |tar| cut(member(tar), 3)),
    ("a second member that is cut off", GZIP, |tar| [member(tar), cut(member(b"more"), 9)].concat()),
    ("garbage behind a member", GZIP, |tar| [&member(tar)[..], b"garbage"].concat()),
    ("a frame with a wrong sum", ZSTD, |tar| damaged(streamed(tar), 1)),
    ("a frame that is cut off", ZSTD, |tar| cut(frame(tar), 1000)),
    ("garbage behind a frame", ZSTD, |tar| [&frame(tar)[..], b"garbage"].concat()),
];

pub(in super::super) fn packings() -> Vec<Case> {
    let case = |verdict| {
        move |(name, media_type, pack): Packing| {
            let archive = archive(name);
            Case { name: name.into(), packed: Some((media_type, pack(&archive))), layers: vec![archive], verdict }
        }
    };
    GOOD.into_iter().map(case(Verdict::Unpacks)).chain(BAD.into_iter().map(case(Verdict::Refuses))).collect()
}
