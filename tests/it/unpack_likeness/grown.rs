//! Layers unpacked by the library alone: no registry, no containerd, nothing between the
//! archive and the tree.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lighterman::core::limits::Limits;
use lighterman::fetch::Budget;
use lighterman::unpack::archive::Archive;
use lighterman::unpack::tree::{Account, RootMeta, Tree, Whiteouts, settle};

/// What containerd makes of a snapshot's own directory.
const ROOT: RootMeta = RootMeta { mode: 0o755, uid: 0, gid: 0 };

/// Unpacks layers one upon the other, each into a directory of its own below `folder`.
pub(super) fn grow(layers: &[Vec<u8>], folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut lowers: Vec<PathBuf> = Vec::new();
    for (index, tar) in layers.iter().enumerate() {
        let root = folder.join(index.to_string());
        std::fs::create_dir_all(&root).expect("a writable folder");
        std::fs::set_permissions(&root, Permissions::from_mode(0o700)).expect("a folder of ours");
        let nearest: Vec<PathBuf> = lowers.iter().rev().cloned().collect();
        layer(tar, &root, &nearest).map_err(|error| format!("layer {index}: {error}"))?;
        lowers.push(root);
    }
    Ok(lowers)
}

fn layer(tar: &[u8], root: &Path, lowers: &[PathBuf]) -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits::default();
    let memory = Budget::new(limits.buffer_bytes).memory();
    let style = if lowers.is_empty() { Whiteouts::Plain } else { Whiteouts::Overlay };
    let (mut archive, mut tree) =
        (Archive::new(&limits), Tree::create(root, style, &limits, (Account::default().share(), memory))?);
    // Pieces of a size that fits nothing, so that everything is cut somewhere.
    for piece in tar.chunks(60_001) {
        archive.push(piece, &mut tree)?;
    }
    archive.finish()?;
    settle(root, &tree.finish()?, lowers, ROOT)?;
    Ok(())
}
