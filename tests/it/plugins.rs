//! What containerd calls by itself: our image verifier.

mod verifier;
