//! Arch-mismatch findings: what an image claims against what is really in it.
//!
//! So far this room can look into an image without unpacking it: [`layer`] walks the
//! entries of one layer, [`tree`] merges the names of all layers as a runtime would, and
//! [`entrypoint`] finds the program that the image starts, and [`inspect`] puts it all
//! together for an image that was pulled. Everything read here was made
//! by strangers: names, sizes and depths are bounded, and nothing is written to disk.
//!
//! All of it blocks on its readers; async callers put it on a blocking thread.

pub mod checks;
pub mod contents;
pub mod entrypoint;
pub mod error;
mod evidence;
pub mod finding;
pub mod inspect;
pub mod layer;
pub mod needs;
pub mod report;
pub mod rootfs;
pub mod runs;
mod shell;
pub mod start;
#[cfg(test)]
mod testing;
pub mod tree;

pub use error::DiagnoseError;
