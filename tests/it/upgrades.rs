//! What changes under a daemon, and what it finds: another containerd over the same data, and state
//! that another version left or that is damaged.

mod runtime;
mod state;
