//! Arch-mismatch findings: what an image claims against what is really in it, and against the nodes
//! that are to run it.
//!
//! [`diagnosis`] is the use case. The files of an image are looked at without unpacking it: [`layer`]
//! walks the entries of one layer, [`tree`] merges the names of all layers as a runtime would,
//! [`rootfs`] finds files in layers of which it reads as little as it can, [`entrypoint`] says
//! where the program may lie, and [`start`] follows it to the binary that the kernel loads, and on to
//! what that starts in its place (`shell`). What was found are [`contents`]; the [`checks`] make [findings](finding) of them without any I/O, and
//! [`fleet`] says what becomes of the image on every node and with every client. [`report`] is
//! all of it in plain values. [`inspect`] verifies an image that was pulled.
//!
//! Everything read here was made by strangers: names, sizes and depths are bounded, and nothing
//! is written to disk. What is below [`diagnosis`] blocks on its readers; async callers put it on
//! a blocking thread.

mod around;
pub mod checks;
pub mod contents;
pub mod diagnosis;
pub mod entrypoint;
pub mod error;
mod evidence;
pub mod finding;
pub mod fleet;
pub mod inspect;
pub mod layer;
mod loaders;
pub mod needs;
mod others;
pub mod repair;
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

pub use error::{DiagnoseError, DiagnosisError};
