//! What containerd calls by itself: our differ, and our image verifier.
//!
//! Most tests call both as containerd would, beside a containerd of any version. Those in `newer`
//! have a real one call them, and need newer ones than Debian 12's for that:
//! `tests/fetch-containerd` gets them.

mod differ;
mod newer;
mod verifier;
