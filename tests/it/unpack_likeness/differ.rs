//! Layers unpacked by our differ, into snapshots that containerd prepared.

use std::path::Path;

use super::Unpacked;
use crate::support::fixture::{Blob, digest};
use crate::support::snapshots::{ByHand, application, directory};

/// Unpacks `layers`, whose tars are known, one upon the other.
pub(super) fn unpack(hands: &ByHand, differ: &Path, number: usize, layers: &[Blob], tars: &[Vec<u8>]) -> Unpacked {
    let mut below = String::new();
    let mut directories = Vec::new();
    for (index, (layer, tar)) in layers.iter().zip(tars).enumerate() {
        hands.put(layer);
        let key = format!("case {number}, layer {index}");
        let mounts = hands.prepare(&key, &below);
        let dir = directory(&mounts);
        match hands.apply(differ, application(layer, &mounts)) {
            Ok(applied) => {
                assert_eq!((applied.digest, applied.size.unsigned_abs()), (digest(tar), tar.len() as u64), "{key}");
            }
            Err(status) => {
                assert_eq!(std::fs::read_dir(&dir).expect("a folder").count(), 0, "{key}: {status} leaves something");
                return Err(format!("{:?}: {}", status.code(), status.message()));
            }
        }
        below = format!("{key}, whole");
        hands.commit(&key, &below);
        directories.push(dir);
    }
    Ok(directories)
}
