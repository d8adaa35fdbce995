//! A layer with a table of contents, as zstd:chunked has it: the input is the layer, and the table is
//! its end from the last brace that opens a line on. A table may lie, so only what was verified
//! counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::limits::Limits;
use lighterman::diagnose::rootfs::layers::Effort;
use lighterman::diagnose::rootfs::{Look, RootFs as _};
use lighterman_fuzz::{Sizes, memory, paths};

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const LOOKS: usize = 3;

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.windows(2).rposition(|pair| pair == b"\n{") else { return };
    let length = data.len() - at - 1;
    let limits = Limits { layer_inflated_bytes: 1 << 20, tree_bytes: 1 << 20, ..Limits::default() };
    let mut sizes = Sizes::of(data);
    let layer = memory::layer(data);
    let mut listed = layer.clone();
    listed.annotations.insert(POSITION.into(), format!("{}:{length}:{length}:1", at + 1));

    let mut whole = memory::open(&[layer], &[data], true, Effort::everything(&limits));
    let budget = 1 + sizes.below(8000) as u64;
    let effort = Effort { per_layer: budget, per_image: budget, beyond_start: true, limits };
    let mut part = memory::open(&[listed], &[data], false, effort);
    for paths in paths(data, &mut sizes, LOOKS) {
        let truth = whole.look(&paths);
        match part.look(&paths) {
            Ok(Look::File(file)) if file.verified => {
                let Ok(Look::File(truth)) = truth else { panic!("{file:?} is verified, and it is {truth:?}") };
                assert_eq!((file.path, file.mode, file.content.size()), (truth.path, truth.mode, truth.content.size()));
            }
            // Absence is not believed of a table.
            Ok(Look::Absent) => assert!(matches!(truth, Ok(Look::Absent)), "{truth:?} is not absent"),
            _ => {}
        }
    }
    assert!(part.cost().fetched <= budget);
});
