//! Boards that we do not have, and this machine.

pub(crate) mod boards;
mod decisions;
mod execution;
mod live;
mod parsers;
