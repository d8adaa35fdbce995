//! Where blobs wait until they are whole: one private directory per store.
//!
//! A partial blob is a file `ALGORITHM-HEX` here, written by one process at a time (a
//! lock on the file says whose turn it is) and continued by the next one after an
//! interruption: the bytes on disk are hashed again before a single one is asked for.
//! Nothing here has a name that a store would show.

use std::path::PathBuf;

/// A staging directory.
#[derive(Debug, Clone)]
pub struct Staging {
    root: PathBuf,
}

/// A whole blob in a staging directory, with every writer gone.
#[derive(Debug)]
pub struct Staged {
    file: std::fs::File,
    path: PathBuf,
}
