//! The files of an image, out of layers that are read whole and out of a few bytes of each: who has
//! read less may know less, and what is told as certain is what the whole says. The input is that
//! of `tree`; paths are the texts in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::limits::Limits;
use lighterman::diagnose::layer::Entries;
use lighterman::diagnose::rootfs::layers::Effort;
use lighterman::diagnose::rootfs::{File, Look, RootFs as _};
use lighterman::diagnose::tree::{End, Name, Tree};
use lighterman_fuzz::{Sizes, layers, memory, paths};

/// Looks into one image.
const LOOKS: usize = 4;

fuzz_target!(|data: &[u8]| {
    let limits =
        Limits { layer_inflated_bytes: 1 << 20, tree_bytes: 1 << 20, program_bytes: 4096, ..Limits::default() };
    let mut sizes = Sizes::of(data);
    let layers = layers(data);
    let descriptors: Vec<_> = layers.iter().map(|bytes| memory::layer(bytes)).collect();
    let per_layer = 1 + sizes.below(6000) as u64;
    let effort = Effort { per_layer, per_image: 2 * per_layer, beyond_start: per_layer.is_multiple_of(2), limits };
    let mut whole = memory::open(&descriptors, &layers, true, Effort::everything(&limits));
    let mut part = memory::open(&descriptors, &layers, false, effort);
    let merged = merge(&layers, &limits);

    for paths in paths(data, &mut sizes, LOOKS) {
        let Ok(truth) = whole.look(&paths) else { return };
        if let Some(tree) = &merged {
            agrees_with_tree(&truth, tree, &paths);
        }
        match part.look(&paths) {
            Ok(Look::File(file)) if file.certain => same(&file, &truth),
            Ok(Look::Absent) => assert_eq!(truth, Look::Absent),
            _ => {}
        }
    }
    let cost = part.cost();
    assert!(cost.fetched <= 2 * per_layer, "{} bytes for {per_layer} of a layer", cost.fetched);
});

fn same(file: &File, truth: &Look) {
    let Look::File(truth) = truth else { panic!("{file:?} is certain, and it is {truth:?}") };
    let told =
        |file: &File| (file.asked.clone(), file.path.clone(), file.layer.clone(), file.mode, file.content.size());
    assert_eq!(told(file), told(truth));
    let (prefix, whole) = (file.content.prefix(), truth.content.prefix());
    let common = prefix.len().min(whole.len());
    assert!(prefix[..common] == whole[..common], "other content");
}

/// The names of all layers, merged at once; `None` where a layer is damaged.
fn merge(layers: &[&[u8]], limits: &Limits) -> Option<Tree> {
    let mut tree = Tree::default();
    for (layer, bytes) in layers.iter().enumerate() {
        let mut entries = Entries::open(*bytes, layer + 1, limits);
        let mut position = 0;
        while let Some(entry) = entries.advance().ok()? {
            tree.apply(&Name::from(entry), layer, position);
            position += 1;
        }
    }
    Some(tree)
}

fn agrees_with_tree(truth: &Look, tree: &Tree, paths: &[String]) {
    let found = paths.iter().map(|path| (path, tree.look(path.as_bytes()))).find(|(_, way)| way.end != End::Nothing);
    match (truth, found) {
        (Look::Absent, None) => {}
        (Look::File(file), Some((asked, way))) => {
            let End::File(at) = way.end else { panic!("{file:?} and {way:?}") };
            assert_eq!((&file.asked, file.mode, file.content.size()), (asked, at.mode, at.size));
        }
        (Look::Other { asked, .. }, Some((path, way))) => assert!(asked == path && matches!(way.end, End::Other(_))),
        (Look::Loop { asked }, Some((path, way))) => assert!(asked == path && way.end == End::Loop),
        (truth, found) => panic!("{truth:?} and {found:?}"),
    }
}
