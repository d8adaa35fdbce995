//! The engine against scripted hosts over real sockets.

mod faults;
mod hosts;
mod sharing;
mod support;
