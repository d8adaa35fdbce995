//! The merged names of layers: the input is up to four tar archives, one behind the other, and
//! paths are the texts in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::limits::Limits;
use lighterman::diagnose::layer::Entries;
use lighterman::diagnose::tree::{End, Name, Tree, normal};
use lighterman_fuzz::{heap, layers};

fuzz_target!(|data: &[u8]| {
    let layers = layers(data);
    let tree = heap::within((2 << 20) + 400 * data.len(), || merge(&layers));
    for path in data.split(|byte| *byte == 0).filter(|path| (1..200).contains(&path.len())).take(64) {
        let way = tree.look(path);
        if let End::File(file) = way.end {
            assert!(file.layer < layers.len() && file.mode <= 0o7777 && way.lowest <= file.layer);
        }
        // Nothing leads out of the root, slashes mean nothing, and neither does a link's own name
        // once it was followed.
        assert_eq!(tree.look(&[b"/../../", path].concat()), way);
        assert_eq!(tree.look(&[b"//.//", path, b"/."].concat()), way);
        if matches!(way.end, End::File(_) | End::Other(_)) {
            assert_eq!(tree.look(&way.path).end, way.end);
        }
        assert_eq!(normal(&normal(path)), normal(path));
    }
    for (path, file) in tree.files() {
        assert_eq!(tree.look(path).end, End::File(file), "a file is found by its own name");
    }
});

/// As far as the layers can be read.
fn merge(layers: &[&[u8]]) -> Tree {
    let limits = Limits { layer_inflated_bytes: 1 << 20, ..Limits::default() };
    let mut tree = Tree::default();
    for (layer, bytes) in layers.iter().enumerate() {
        let mut entries = Entries::open(*bytes, layer + 1, &limits);
        let mut position = 0;
        while let Ok(Some(entry)) = entries.advance() {
            tree.apply(&Name::from(entry), layer, position);
            position += 1;
        }
    }
    tree
}
