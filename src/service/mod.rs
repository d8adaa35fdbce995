//! Thin adapters between a protocol and the house: decode, call, encode.
//!
//! So far one: [`mirror`], which serves an OCI image layout to any registry client.
//! Services never see each other; [`status`] is the one table they all map errors with.

pub mod mirror;
pub mod status;
