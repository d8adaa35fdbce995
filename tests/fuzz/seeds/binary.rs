//! Archives, layers, programs and messages.

use std::fs::File;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::Seeds;

/// Bytes of a program that are enough for its headers.
const HEAD: u64 = 4096;

fn header(kind: EntryType, size: usize, link: &str) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size as u64);
    header.set_link_name_literal(link).expect("a short link");
    header
}

/// An archive of paths with what is there.
fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let (content, link) = if is_link { ("", *text) } else { (*text, "") };
        let mut header = header(*kind, content.len(), link);
        let name = header.as_old_mut();
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

pub(super) fn archives() -> Seeds {
    use EntryType as Is;
    let sparse = "29 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.name=hole\n30 GNU.sparse.realsize=3000\n";
    vec![
        tar(&[
            ("bin/", Is::Directory, ""),
            ("bin/sh", Is::Regular, "#!/bin/busybox sh\n"),
            ("sh", Is::Symlink, "bin/sh"),
        ]),
        tar(&[
            ("p", Is::XHeader, "19 path=a/long/name\n30 SCHILY.xattr.user.x=value\n22 mtime=1700000000.5\n"),
            ("short", Is::Regular, "content"),
            ("again", Is::Link, "short"),
        ]),
        tar(&[
            ("././@LongLink", Is::GNULongName, "some/long/name\0"),
            ("x", Is::Regular, "y"),
            ("g", Is::XGlobalHeader, ""),
        ]),
        tar(&[("p", Is::XHeader, sparse), ("hole", Is::Regular, &format!("1\n100\n5\n{}abcde", "\0".repeat(504)))]),
        tar(&[("tty", Is::Char, ""), ("disk", Is::Block, ""), ("pipe", Is::Fifo, ""), ("old", Is::GNUSparse, "")]),
    ]
}

/// Layers on top of each other, one archive behind the other.
pub(super) fn layers() -> Seeds {
    use EntryType as Is;
    let lower =
        tar(&[("usr/bin/app", Is::Regular, "old"), ("bin", Is::Symlink, "usr/bin"), ("etc/x", Is::Regular, "x")]);
    let upper =
        tar(&[("bin/.wh.app", Is::Regular, ""), ("etc/.wh..wh..opq", Is::Regular, ""), ("bin/app", Is::Link, "etc/y")]);
    let loops = tar(&[("a", Is::Symlink, "b/../b"), ("b", Is::Symlink, "/a"), ("usr", Is::Symlink, "../../a")]);
    vec![[lower.as_slice(), upper.as_slice()].concat(), [lower, loops].concat(), upper]
}

/// Layers with a table of contents behind them.
pub(super) fn listed() -> Seeds {
    let layer = tar(&[("bin/app", EntryType::Regular, "#!/bin/sh\n"), ("sh", EntryType::Symlink, "bin/app")]);
    let tables = [
        r#"{"version":1,"entries":[{"type":"reg","name":"bin/app","mode":493,"size":10,"offset":512},
            {"type":"symlink","name":"sh","linkName":"bin/app"},{"type":"dir","name":"etc/"}]}"#,
        r#"{"version":1,"entries":[{"type":"reg","name":"bin/app","size":10,"offset":0,"innerOffset":512},
            {"type":"chunk","name":"bin/app","chunkOffset":5,"offset":517},{"type":"hardlink","name":"x","linkName":"bin/app"}]}"#,
    ];
    tables.iter().map(|table| [layer.as_slice(), b"\n", table.as_bytes()].concat()).collect()
}

pub(super) fn compressed(plain: &Seeds) -> Seeds {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("written to memory");
        encoder.finish().expect("written to memory")
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("written to memory");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
    let mut seeds: Seeds = plain.iter().take(2).flat_map(|bytes| [gzip(bytes), zstd(bytes)]).collect();
    seeds.push([gzip(&plain[0]), gzip(b"")].concat());
    seeds.push([zstd(&plain[0]).as_slice(), &skippable, &zstd(b"more")].concat());
    seeds.push(gzip(&[b'x'; 70_000]));
    seeds
}

/// The heads of programs and libraries of this machine, whatever there is.
pub(super) fn programs() -> Seeds {
    let paths = [
        "/proc/self/exe",
        "/bin/sh",
        "/bin/true",
        "/bin/busybox",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/ld-linux-aarch64.so.1",
        "/usr/bin/containerd",
        "/usr/bin/qemu-arm-static",
    ];
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/busybox");
    let ours = std::fs::read_dir(ours).into_iter().flatten().flatten().map(|entry| entry.path().join("busybox"));
    let heads = paths.iter().map(Into::into).chain(ours).filter_map(|path| {
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        Some(head)
    });
    heads.chain([b"#! /bin/sh -e\n".to_vec(), b"\x7fELF\x01\x02\x01".to_vec()]).collect()
}

/// What `lighterman host --json` writes, as short as it can be.
const REPORT: &[u8] =
    br#"{"kernel":{"platform":{"os":"linux","architecture":"arm64"},"machine":"aarch64","release":"6"},
"process":{"platform":{"os":"linux","architecture":"arm","variant":"v7"},"emulated":false,"linux32":true},
"isa":{"architecture":"arm64","features":["fp"]},"pageSize":4096,"binfmt":"enabled","emulators":[],"findings":[],
"runs":[{"architecture":"arm64","execution":{"kind":"native"},"knownBy":"kernel"}],"evidence":[]}"#;

/// Messages of `proto/lighterman/v1`, written by hand: this program is not the fuzzer's, and what is
/// compiled for the fuzzer cannot be linked into it.
pub(super) fn messages() -> Seeds {
    let digest = b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let platform = b"linux/arm/v7";
    let reference = text(1, b"docker.io/library/busybox:latest");
    let descriptor = |field| {
        let media_type = text(1, b"application/vnd.oci.image.manifest.v1+json");
        text(field, &[media_type, text(2, digest), number(3, 7), text(4, platform)].concat())
    };
    let entry =
        [text(1, b"0.1"), descriptor(2), text(3, platform), text(4, b"chosen"), number(5, 1), text(6, b"it is")];
    let prediction = [text(1, b"docker"), text(2, b"Docker"), text(3, b"takes"), text(4, b"0.1"), text(5, b"takes it")];
    let explanation = [text(1, b"an index"), text(3, &entry.concat()), text(4, &prediction.concat())].concat();
    let attempt = [text(1, b"mirror.example"), text(2, b"timeout"), text(4, &number(1, 3)), number(5, 9)].concat();
    let failure = [text(1, b"not-found"), text(2, b"registry"), text(3, b"no such tag"), text(5, &attempt)].concat();
    let answer =
        [reference.clone(), descriptor(2), descriptor(3), text(4, platform), text(6, &explanation), text(7, &failure)];
    let image = [text(1, digest), text(2, platform)].concat();
    let planned = [reference.clone(), descriptor(2), text(3, &image), number(4, 3), number(5, 100), text(6, b"so so")];
    let node = |name: &[u8], report: &[u8]| text(4, &[text(1, name), text(2, report)].concat());
    let login = text(8, &text(1, &[text(1, b"user"), text(2, b"word")].concat()));
    let doubt = [reference.clone(), text(2, platform), node(b"raspberry-pi-zero", b""), number(5, 100), login];
    let doubt_of_others = [reference, number(3, 1), node(b"attic", REPORT), number(6, 1), text(7, b"k8s.io")];
    vec![answer.concat(), planned.concat(), failure, doubt.concat(), doubt_of_others.concat()]
}

/// Requests of kubelet's.
pub(super) fn pulls() -> Seeds {
    let annotation = |name: &[u8], value: &[u8]| [text(1, name), text(2, value)].concat();
    let mismatch = annotation(b"lighterman.dev/arch-mismatch", b"refuse");
    let level = annotation(b"lighterman.dev/isa-level", b"true");
    let handler = annotation(b"io.containerd.cri.runtime-handler", b"gvisor");
    let image = |reference: &[u8], more: &[u8]| text(1, &[text(1, reference), more.to_vec()].concat());
    let login = [text(1, b"ann"), text(2, b"pier"), text(4, b"https://quay.io/v2/")].concat();
    let auths = [login, text(3, b"Ym9iOnF1YXk="), text(5, b"identity"), text(6, b"registry")];
    let pod = |annotations: &[u8]| text(3, &text(7, annotations));
    let mut seeds: Seeds =
        auths.iter().map(|auth| [image(b"quay.io/team/app:1", &text(2, &mismatch)), text(2, auth)].concat()).collect();
    seeds.push([image(b"busybox", b""), pod(&level)].concat());
    seeds.push([image(b"busybox", &text(2, &handler)), pod(&handler)].concat());
    // Field 19 takes a tag of two bytes.
    seeds.push(image(b"busybox", &[&[0x9a, 1, 6], b"gvisor".as_slice()].concat()));
    seeds.push(image(b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b""));
    seeds
}

/// Requests of containerd's to its differs.
pub(super) fn applications() -> Seeds {
    let digest = b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let layer = [text(1, b"application/vnd.oci.image.layer.v1.tar+gzip"), text(2, digest), number(3, 7)].concat();
    let options = |options: &[&[u8]]| options.iter().flat_map(|option| text(4, option)).collect::<Vec<u8>>();
    let bind = [text(1, b"bind"), text(2, b"/c/snapshots/1/fs"), options(&[b"rw", b"rbind"])].concat();
    let overlay = options(&[
        b"index=off",
        b"workdir=/c/snapshots/7/work",
        b"upperdir=/c/snapshots/7/fs",
        b"lowerdir=/c/snapshots/6/fs:/c/snapshots/2/fs",
    ]);
    let overlay = [text(1, b"overlay"), text(2, b"overlay"), overlay].concat();
    let view = [text(1, b"overlay"), options(&[b"userxattr", b"lowerdir=/c/6/fs:/c/2/fs"])].concat();
    let payload = text(3, &[text(1, b"io.containerd.ocicrypt.v1.Payload"), text(2, b"")].concat());
    let request = |mount: &[u8]| [text(1, &layer), text(2, mount), number(4, 1)].concat();
    vec![request(&bind), request(&overlay), request(&view), [request(&bind), payload].concat(), text(2, &bind)]
}

/// A field of text, or of a message; all are shorter than 16 KiB.
fn text(field: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let mut coded = vec![field << 3 | 2, length as u8 | 0x80, (length >> 7) as u8];
    coded.extend_from_slice(bytes);
    coded
}

/// A field of a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}
