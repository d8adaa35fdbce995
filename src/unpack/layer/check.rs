//! Reading a layer without making anything of it.

use super::{Helpers, Inlet, LayerError, Piece, Source, between, both, judged, read_and_inflate};
use crate::core::descriptor::MediaType;
use crate::core::limits::Limits;
use crate::cpu::{self, Cpu, Priority};
use crate::fetch::Budget;
use crate::unpack::archive::{Archive, ArchiveError, Entry, Sink};
use crate::unpack::tree::TreeError;

/// Reads a layer to its end, to find out whether it is an archive at all.
///
/// # Errors
/// [`LayerError`]; [`LayerError::is_damage`] where it is none.
pub async fn check(
    cpu: &Cpu,
    source: Source,
    media_type: &MediaType,
    limits: &Limits,
    budget: &Budget,
) -> Result<(), LayerError> {
    let (outlet, inlet) = between();
    let helpers = Helpers::new(cpu, budget);
    let inflating = cpu.spawn(Priority::TIDY, read_and_inflate(source, media_type.clone(), outlet, helpers));
    let reading = cpu.spawn(Priority::TIDY, read(Archive::new(limits), inlet));
    let ((source, inflated), read) = tokio::join!(inflating, reading);
    judged(cpu, Priority::TIDY, source, both((inflated, read))).await
}

async fn read(mut archive: Archive, inlet: Inlet) -> Result<(), LayerError> {
    let Inlet { mut pieces, returned } = inlet;
    while let Some(piece) = pieces.recv().await {
        let Piece::Bytes(bytes) = piece else {
            return Ok(archive.finish().map_err(ArchiveError::Archive)?);
        };
        archive.push(&bytes, &mut Nowhere)?;
        // The first stage may be through and want no more.
        let _ = returned.try_send(bytes);
        cpu::yield_now().await;
    }
    Err(LayerError::CutOff)
}

/// Where entries go that nobody wants.
struct Nowhere;

impl Sink for Nowhere {
    type Error = TreeError;

    fn entry(&mut self, _: Entry) -> Result<(), TreeError> {
        Ok(())
    }

    fn content(&mut self, _: u64, _: &[u8]) -> Result<(), TreeError> {
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), TreeError> {
        Ok(())
    }
}
