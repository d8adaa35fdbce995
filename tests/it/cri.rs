//! CRI's image service as kubelet uses it: lighterman as a process before a real containerd, and
//! before one that only records.

mod client;
mod mirrors;
mod mismatch;
mod node;
mod passing;
mod pods;
mod pulling;
mod recorder;
mod refusing;
mod restarting;
mod secrets;
