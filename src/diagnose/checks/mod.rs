//! From facts to findings. Every check is a function of plain values: no I/O, no clock.
//!
//! One cause makes one finding that says so; what cannot be known is not guessed, and no check
//! speaks where only a part of what it needs was read.

pub mod binary;
pub mod files;
