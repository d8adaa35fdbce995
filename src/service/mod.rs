//! Thin adapters between a protocol and the house: decode, call, encode.
//!
//! So far one: [`mirror`], which serves an OCI image layout to any registry client.
//! Services never see each other.

pub mod mirror;
