//! Writes one layer: tar and gzip in one pass, level 6 as everybody's tools have it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::content::{self, Found};

/// Of each file of noise.
const NOISE_FILE: u64 = 8 << 20;

/// A layer that was written to `blobs/sha256`.
pub(super) struct Layer {
    digest: String,
    pub(super) diff_id: String,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) compressed: u64,
}

impl Layer {
    pub(super) fn descriptor(&self) -> Value {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        json!({"mediaType": media_type, "digest": self.digest, "size": self.compressed})
    }
}

/// A layer being written.
pub(super) struct Writer {
    tar: tar::Builder<Hashing<GzEncoder<Hashing<File>>>>,
    folder: PathBuf,
    temporary: PathBuf,
    directories: BTreeSet<PathBuf>,
    files: usize,
}

/// Passes bytes on, and hashes and counts them.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", content::hex(&self.hash.clone().finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Writer {
    /// A layer that will lie in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self::with_level(folder, Compression::new(6))
    }

    /// One whose content does not compress anyway.
    pub(super) fn fast(folder: &Path) -> Self {
        Self::with_level(folder, Compression::fast())
    }

    fn with_level(folder: &Path, level: Compression) -> Self {
        let temporary = folder.join(format!("writing-{:?}", std::thread::current().id()));
        let file = File::create(&temporary).expect("a writable target folder");
        let gzip = GzEncoder::new(Hashing::new(file), level);
        let mut tar = tar::Builder::new(Hashing::new(gzip));
        tar.follow_symlinks(false);
        tar.sparse(false);
        Self { tar, folder: folder.into(), temporary, directories: BTreeSet::new(), files: 0 }
    }

    /// Adds files with the directories above them, until the layer has so many bytes in gzip.
    pub(super) fn with_files(mut self, files: &[Found], compressed: u64) -> Self {
        for file in files {
            if self.tar.get_ref().inner.get_ref().bytes >= compressed {
                break;
            }
            let above: Vec<&Path> = file.path.ancestors().skip(1).collect();
            for directory in above.into_iter().rev().filter(|directory| *directory != Path::new("/")) {
                if self.directories.insert(directory.into()) {
                    self.tar.append_dir(inside(directory), directory).expect("a readable directory");
                }
            }
            // What is gone or not readable meanwhile is left out.
            if self.tar.append_path_with_name(&file.path, inside(&file.path)).is_ok() {
                self.files += 1;
            }
        }
        self
    }

    /// Adds files of noise.
    pub(super) fn with_noise(mut self, bytes: u64) -> Self {
        let mut state = 0x6c69_6768_7465_726d;
        let mut left = bytes;
        while left > 0 {
            let size = left.min(NOISE_FILE);
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(size);
            let path = format!("noise/{:06}", self.files);
            self.tar.append_data(&mut header, path, Noise { left: size, state: &mut state }).expect("a writable disk");
            (left, self.files) = (left - size, self.files + 1);
        }
        self
    }

    pub(super) fn finish(self) -> Layer {
        let outer = self.tar.into_inner().expect("a writable disk");
        let (diff_id, bytes) = (outer.digest(), outer.bytes);
        let inner = outer.inner.finish().expect("a writable disk");
        let (digest, compressed) = (inner.digest(), inner.bytes);
        let name = digest.trim_start_matches("sha256:");
        std::fs::rename(self.temporary, self.folder.join(name)).expect("our own folder");
        Layer { digest, diff_id, files: self.files, bytes, compressed }
    }
}

struct Noise<'a> {
    left: u64,
    state: &'a mut u64,
}

impl Read for Noise<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        content::noise(&mut buffer[..length], self.state);
        self.left -= length as u64;
        Ok(length)
    }
}

fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").expect("found below /usr")
}
