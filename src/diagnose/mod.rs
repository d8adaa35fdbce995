//! Arch-mismatch findings: what an image claims against what is really in it.
//!
//! This room looks into an image without unpacking it: [`layer`] walks the entries of one layer,
//! [`tree`] merges the names of all layers as a runtime would, [`rootfs`] finds files in layers
//! of which it reads as little as it can, [`entrypoint`] says where the program may lie that the
//! image starts, and [`inspect`] puts it all together for an image that was pulled. Everything
//! read here was made by strangers: names, sizes and depths are bounded, and nothing is written
//! to disk.
//!
//! All of it blocks on its readers; async callers put it on a blocking thread.

pub mod checks;
pub mod contents;
pub mod entrypoint;
pub mod error;
pub mod finding;
pub mod fleet;
pub mod inspect;
pub mod layer;
pub mod report;
pub mod rootfs;
pub mod runs;
#[cfg(test)]
mod samples;
mod shell;
pub mod start;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;

pub use error::DiagnoseError;
