//! What layers are made of: this machine's own `/usr`, which is as real as files get.
//!
//! The choice depends on nothing but the files that are there, so that a second run makes
//! the same layers. Nothing is chosen by name.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where files come from.
const SOURCE: &str = "/usr";

/// A file or a symbolic link.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    modified: i64,
}

/// Every file and symbolic link below `/usr`, sorted by path.
pub(crate) fn survey() -> Vec<Found> {
    let device = std::fs::metadata(SOURCE).expect("/usr").dev();
    let mut pending = vec![PathBuf::from(SOURCE)];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let (path, kind) = (entry.path(), metadata.file_type());
            if kind.is_dir() && metadata.dev() == device {
                pending.push(path);
            } else if kind.is_file() || kind.is_symlink() {
                found.push(Found { path, size: metadata.len(), modified: metadata.mtime() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A digest that changes when any of the files does.
pub(crate) fn fingerprint(files: &[Found]) -> String {
    let mut hash = Sha256::new();
    for Found { path, size, modified } in files {
        hash.update(format!("{}\0{size}\0{modified}\0", path.display()));
    }
    hex(&hash.finalize())
}

/// So many files in path order, cut into parts of equal count. Files above some size are left
/// out, so that all together come as close to `bytes` as they can without exceeding it.
pub(crate) fn cut(files: &[Found], parts: usize, count: usize, bytes: u64) -> Vec<Vec<Found>> {
    let total = |largest: u64| files.iter().filter(|file| file.size <= largest).take(count).map(|file| file.size).sum();
    let (mut fits, mut exceeds) = (0, u64::from(u32::MAX));
    while exceeds - fits > 1 {
        let middle = fits.midpoint(exceeds);
        let sum: u64 = total(middle);
        *(if sum <= bytes { &mut fits } else { &mut exceeds }) = middle;
    }
    let chosen: Vec<Found> = files.iter().filter(|file| file.size <= fits).take(count).cloned().collect();
    chosen.chunks(chosen.len().div_ceil(parts).max(1)).map(<[Found]>::to_vec).collect()
}

/// All files up to a size, directory by directory in an order without meaning, dealt to so
/// many parts. Each part is a fair sample of the whole.
pub(crate) fn deal(files: &[Found], parts: usize, largest: u64) -> Vec<Vec<Found>> {
    let mut directories: BTreeMap<Vec<u8>, Vec<Found>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.size <= largest) {
        let parent = file.path.parent().unwrap_or(Path::new("/"));
        let order = Sha256::digest(parent.as_os_str().as_encoded_bytes()).to_vec();
        directories.entry(order).or_default().push(file.clone());
    }
    let mut dealt = vec![Vec::new(); parts];
    for (index, directory) in directories.into_values().enumerate() {
        dealt[index % parts].extend(directory);
    }
    dealt
}

/// Bytes that do not compress, always the same.
pub(crate) fn noise(block: &mut [u8], state: &mut u64) {
    for chunk in block.chunks_mut(8) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        chunk.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()[..chunk.len()]);
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
