//! The first stage of a layer: reads and inflates.

use tokio::sync::mpsc::Receiver;

use super::{INPUT, LayerError, Outlet, Piece, Source};
use crate::cpu;
use crate::unpack::inflate::{Inflater, Progress};

/// Reads a layer to its end and sends on what is in it. Gives the source back, which may know
/// whether the bytes were the right ones.
pub(super) async fn read_and_inflate(
    mut source: Source,
    inflater: Inflater,
    outlet: Outlet,
) -> (Source, Result<(), LayerError>) {
    let inflated = read_all(&mut source, inflater, outlet).await;
    (source, inflated)
}

async fn read_all(source: &mut Source, mut inflater: Inflater, outlet: Outlet) -> Result<(), LayerError> {
    let Outlet { pieces, mut spare } = outlet;
    let mut input = vec![0; INPUT];
    let mut output = next(&mut spare).await?;
    let mut filled = 0;
    loop {
        let count = source.read(&mut input).await?;
        if count == 0 {
            inflater.end_of_input()?;
        }
        let mut rest = &input[..count];
        loop {
            let progress = inflater.step(rest, &mut output[filled..])?;
            rest = &rest[progress.consumed..];
            filled += progress.produced;
            if filled == output.len() {
                let full = std::mem::take(&mut output);
                pieces.send(Piece::Bytes(full)).await.map_err(|_| LayerError::CutOff)?;
                output = next(&mut spare).await?;
                filled = 0;
            } else if progress == Progress::NONE {
                break;
            }
        }
        if count == 0 {
            break;
        }
        cpu::yield_now().await;
    }
    inflater.finish()?;
    output.truncate(filled);
    pieces.send(Piece::Bytes(output)).await.map_err(|_| LayerError::CutOff)?;
    pieces.send(Piece::End).await.map_err(|_| LayerError::CutOff)
}

async fn next(spare: &mut Receiver<Vec<u8>>) -> Result<Vec<u8>, LayerError> {
    spare.recv().await.ok_or(LayerError::CutOff)
}
