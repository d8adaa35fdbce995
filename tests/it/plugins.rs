//! What containerd calls by itself: our differ, and our image verifier.
//!
//! The ordinary tests call both as containerd would, beside a containerd of any version. Those in
//! `newer` have a real one call them, and need a newer one than Debian 12's for that: see
//! `tests/run --help`.

mod differ;
mod newer;
mod verifier;
