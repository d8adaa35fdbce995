//! The first stage of a layer: reads and inflates.

use super::ahead::{Ahead, Helpers};
use super::{INPUT, LayerError, Outlet, Piece, Source};
use crate::core::descriptor::MediaType;
use crate::cpu;
use crate::unpack::inflate::{InflateError, Inflater};

/// Reads a layer to its end and sends on what is in it. Gives the source back, which may know
/// whether the bytes were the right ones.
pub(super) async fn read_and_inflate(
    mut source: Source,
    media_type: MediaType,
    outlet: Outlet,
    helpers: Helpers,
) -> (Source, Result<(), LayerError>) {
    let inflated = read_all(&mut source, &media_type, outlet, &helpers).await;
    (source, inflated)
}

async fn read_all(
    source: &mut Source,
    media_type: &MediaType,
    outlet: Outlet,
    helpers: &Helpers,
) -> Result<(), LayerError> {
    let mut inflating = Inflating::new(media_type, outlet).await?;
    let mut input = vec![0; INPUT];
    let mut looks_ahead = true;
    loop {
        let count = source.read(&mut input).await?;
        if count == 0 {
            return inflating.finish().await;
        }
        inflating.push(&input[..count]).await?;
        cpu::yield_now().await;
        if looks_ahead && let Some(mut ahead) = Ahead::begin(helpers, &inflating) {
            ahead.run(source, &mut input, &mut inflating).await?;
            looks_ahead = false;
        }
    }
}

/// A layer between its decoder and the second stage.
pub(super) struct Inflating {
    inflater: Inflater,
    outlet: Outlet,
    buffer: Vec<u8>,
    filled: usize,
}

impl Inflating {
    pub(super) async fn new(media_type: &MediaType, mut outlet: Outlet) -> Result<Self, LayerError> {
        let buffer = outlet.spare().await?;
        Ok(Self { inflater: Inflater::new(media_type), outlet, buffer, filled: 0 })
    }

    /// What decodes the next bytes.
    pub(super) fn inflater(&self) -> &Inflater {
        &self.inflater
    }

    /// Inflates the next bytes.
    pub(super) async fn push(&mut self, mut input: &[u8]) -> Result<(), LayerError> {
        loop {
            self.filled += self.inflater.fill(&mut input, &mut self.buffer[self.filled..])?;
            if self.filled < self.buffer.len() {
                return Ok(());
            }
            self.flush().await?;
        }
    }

    /// Takes the next bytes from somebody who has inflated them, with the decoder as it was then.
    pub(super) async fn adopt(
        &mut self,
        inflated: Vec<Vec<u8>>,
        inflater: Result<Inflater, InflateError>,
    ) -> Result<(), LayerError> {
        self.flush().await?;
        for piece in inflated.into_iter().filter(|piece| !piece.is_empty()) {
            self.outlet.send(Piece::Bytes(piece)).await?;
            // As many buffers go round as before.
            drop(self.outlet.spare().await?);
        }
        self.inflater = inflater?;
        Ok(())
    }

    /// Says that all has come.
    pub(super) async fn finish(mut self) -> Result<(), LayerError> {
        self.inflater.end_of_input()?;
        self.push(&[]).await?;
        self.inflater.finish()?;
        self.flush().await?;
        self.outlet.send(Piece::End).await
    }

    async fn flush(&mut self) -> Result<(), LayerError> {
        if self.filled == 0 {
            return Ok(());
        }
        let mut full = std::mem::take(&mut self.buffer);
        full.truncate(self.filled);
        self.outlet.send(Piece::Bytes(full)).await?;
        self.buffer = self.outlet.spare().await?;
        self.filled = 0;
        Ok(())
    }
}
