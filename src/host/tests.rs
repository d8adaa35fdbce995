//! Boards that we do not have, and this machine.

mod boards;
mod decisions;
mod execution;
mod live;
mod parsers;
