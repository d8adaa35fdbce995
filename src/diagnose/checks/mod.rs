//! From facts to findings. Every check is a function of plain values: no I/O, no clock.
//!
//! One cause makes one finding that says so; what cannot be known is not guessed, and no check
//! speaks where only a part of what it needs was read.

use crate::core::platform::Platform;
use crate::core::text;

pub mod binary;
pub mod files;

/// Bytes of a platform in a message; what documents name is not bounded otherwise.
const PLATFORM: usize = 80;

/// A platform in a message, on one line.
fn shown(platform: &Platform) -> String {
    text::one_line(&platform.to_string(), PLATFORM)
}
