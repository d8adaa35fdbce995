//! gzip, zstd and neither: in which pieces the bytes come, and how much room there is for what
//! comes out, must not matter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::descriptor::MediaType;
use lighterman::unpack::inflate::{InflateError, Inflater, Progress};
use lighterman_fuzz::Sizes;

/// More than this is not asked for: a few bytes of zstd can be any number of zeros.
const MOST: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let kind = MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip");
    let (whole, end) = inflate(&kind, &[data], 64 * 1024);
    let mut sizes = Sizes::of(data);
    let pieces = sizes.cut(data, 64);
    let (parts, end_of_parts) = inflate(&kind, &pieces, 1 + sizes.below(5000));
    // Before an error is seen, one may have got further than the other.
    let common = whole.len().min(parts.len());
    assert!(whole[..common] == parts[..common], "in pieces other bytes come out");
    assert_eq!(end.is_ok(), end_of_parts.is_ok(), "{end:?} and {end_of_parts:?}");
    assert!(end.is_err() || whole.len() == parts.len());

    let plain = MediaType::parse("application/vnd.oci.image.layer.v1.tar");
    assert!(inflate(&plain, &pieces, 100).0 == data, "a plain tar is never inflated");
});

fn inflate(kind: &MediaType, pieces: &[&[u8]], room: usize) -> (Vec<u8>, Result<(), InflateError>) {
    let mut inflater = Inflater::new(kind);
    let mut inflated = Vec::new();
    let mut buffer = vec![0; room];
    let mut result = Ok(());
    for piece in pieces.iter().copied().chain([&[][..]]) {
        if piece.is_empty() {
            result = result.and_then(|()| inflater.end_of_input());
        }
        result = result.and_then(|()| run(&mut inflater, piece, &mut buffer, &mut inflated));
    }
    let result = result.and_then(|()| if inflated.len() < MOST { inflater.finish() } else { Ok(()) });
    inflated.truncate(MOST);
    (inflated, result)
}

/// Steps until there is nothing left to do, and says so if that takes forever.
fn run(
    inflater: &mut Inflater,
    mut input: &[u8],
    buffer: &mut [u8],
    inflated: &mut Vec<u8>,
) -> Result<(), InflateError> {
    while inflated.len() < MOST {
        let Progress { consumed, produced } = inflater.step(input, buffer)?;
        input = &input[consumed..];
        inflated.extend_from_slice(&buffer[..produced]);
        if consumed == 0 && produced == 0 {
            assert!(input.is_empty(), "it stands still before {} bytes", input.len());
            break;
        }
    }
    Ok(())
}
