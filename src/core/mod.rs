//! The pure heart: values and decisions, no I/O.
//!
//! Everything here is a function of its arguments: no tokio, no file system, no
//! network, no clock, no environment, and no chance outside of [`unique`]. That is
//! what makes platform selection, manifest parsing and retry decisions testable row
//! by row, and what lets `--explain` show the very code path that a pull takes.
//!
//! `core` imports nothing from the rest of the house.

pub mod descriptor;
pub mod digest;
pub mod draft;
pub mod duration;
pub mod elf;
pub mod error;
pub mod extract;
pub mod image_name;
pub mod limits;
pub mod manifest;
pub mod plan;
pub mod platform;
pub mod predict;
pub mod ramp;
pub mod ranges;
pub mod reference;
pub mod retry;
pub mod select;
pub mod text;
pub mod trace;
pub mod unique;
