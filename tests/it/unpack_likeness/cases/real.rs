//! Layers made of the files of this machine's own Debian packages.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::{Case, unpacks};
use crate::support::succeed;

/// Present on every Debian: programs, many small files, links, setuid programs.
const LAYERS: [&[&str]; 3] =
    [&["base-files", "bash", "coreutils"], &["dash", "perl-base", "ncurses-base"], &["passwd", "util-linux", "tzdata"]];
/// Bytes of one layer; packages beyond them are cut.
const MOST: u64 = 24 << 20;

pub(in super::super) fn packages() -> Vec<Case> {
    vec![unpacks("packages of Debian", LAYERS.map(layer))]
}

/// The files of some packages, in dpkg's order, hard links as such.
fn layer(packages: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    let (mut first, mut size) = (HashMap::new(), 0);
    for package in packages {
        let listed = succeed(Command::new("dpkg").args(["-L", package])).stdout;
        for path in String::from_utf8(listed).expect("UTF-8").lines().filter(|path| *path != "/.") {
            // Documentation may be left out of an installation, and lines of diversions name no file.
            let Ok(meta) = Path::new(path).symlink_metadata() else { continue };
            let name = path.trim_start_matches('/');
            size += meta.len();
            if size > MOST {
                break;
            }
            if !meta.is_dir()
                && meta.nlink() > 1
                && let Some(other) = first.insert(meta.ino(), name.to_owned())
            {
                let mut header = tar::Header::new_gnu();
                header.set_metadata(&meta);
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, name, other).expect("memory");
            } else {
                builder.append_path_with_name(path, name).expect("a readable file");
            }
        }
    }
    builder.into_inner().expect("memory")
}
