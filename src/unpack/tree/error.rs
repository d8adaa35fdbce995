//! What can go wrong when a layer becomes a tree.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::core::error::{Classify, Kind};

/// A path of an image, made fit to be shown: what is no text or controls a terminal is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Makes `path` fit to be shown.
    #[must_use]
    pub fn new(path: &[u8]) -> Self {
        let mut text = String::with_capacity(path.len());
        for character in String::from_utf8_lossy(path).chars() {
            match character {
                // Marks that turn text around could make one path look like another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.extend(character.escape_unicode()),
                _ if character.is_control() => text.extend(character.escape_default()),
                _ => text.push(character),
            }
        }
        Self(text)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// Why a layer did not become a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `create`, `write`, …
        action: &'static str,
        /// As the layer spells it.
        path: Shown,
        /// What the kernel said.
        source: io::Error,
    },
    /// A name that no file can have, or a path too long to be opened.
    #[error("{path} is no name for a file: {source}")]
    Name {
        /// As the layer spells it.
        path: Shown,
        /// What the kernel said, or would say.
        source: io::Error,
    },
    /// A path through something else than directories.
    #[error("{path} lies below something that is no directory")]
    NotADirectory {
        /// As the layer spells it.
        path: Shown,
    },
    /// A path that leads in circles.
    #[error("{path} leads through too many symbolic links")]
    TooManyLinks {
        /// As the layer spells it.
        path: Shown,
    },
    /// A hard link to what this layer does not have, or to a directory.
    #[error("{path} is a hard link to {target}, which is no file of this layer: {source}")]
    LinkTarget {
        /// As the layer spells it.
        path: Shown,
        /// What it should be another name of.
        target: Shown,
        /// What the kernel said.
        source: io::Error,
    },
    /// A symbolic link to what no path can be.
    #[error("{path} is a symbolic link to no path that could be: {source}")]
    SymlinkTarget {
        /// As the layer spells it.
        path: Shown,
        /// What the kernel said.
        source: io::Error,
    },
    /// A whiteout that names nothing which could be hidden.
    #[error("the whiteout {path} names nothing")]
    WhiteoutName {
        /// As the layer spells it.
        path: Shown,
    },
    /// A whiteout of what the same layer brought before it.
    #[error("the whiteout {path} comes after what it hides, in the same layer")]
    WhiteoutOfOwn {
        /// As the layer spells it.
        path: Shown,
    },
    /// A directory whose times cannot be set at the end, because it is gone by then.
    #[error("the directory {path} is removed again by the same layer")]
    Removed {
        /// As the layer spells it.
        path: Shown,
    },
    /// An extended attribute that the file system does not take.
    #[error("cannot give {path} the extended attribute {name}: {source}")]
    Attribute {
        /// As the layer spells it.
        path: Shown,
        /// The attribute.
        name: Shown,
        /// What the kernel said.
        source: io::Error,
    },
    /// More extended attributes, or larger ones, than a file can have here.
    #[error("{path} has more extended attributes than a file can have here: there is no place for {name}")]
    Attributes {
        /// As the layer spells it.
        path: Shown,
        /// The first that does not fit.
        name: Shown,
    },
    /// An entry that is none of the things that can be made.
    #[error("{path} has the type {flag:?}, which cannot be unpacked")]
    Unsupported {
        /// As the layer spells it.
        path: Shown,
        /// The tar type flag.
        flag: char,
    },
    /// The directory that a parent would take its owner from lies below a file there.
    #[error("{path} cannot be looked up in the layers below: {source}")]
    Lower {
        /// Of the directory that this layer implies.
        path: Shown,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory that passes on an access control list to what is made in it, but the layer's
    /// files were made before it was known. Only who unpacks layers one after the other can.
    #[error("{path} passes on an access control list from the layers below")]
    Inherited {
        /// Of the directory that this layer implies.
        path: Shown,
    },
    /// Too many names to be kept until the layer has landed. Who has more memory can.
    #[error("the names of the directories in it take more memory than there is for them")]
    Memory,
    /// More than [`crate::core::limits::Limits`] allows.
    #[error("{whose} is over a limit: more than {limit} {what}")]
    TooLarge {
        /// The layer, or all of the image.
        whose: &'static str,
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The file system is as full as an image may make it.
    #[error("unpacking stops before the disk is full: {} has {free} left of {whole}, and {floor} stay free", dir.display())]
    NoRoom {
        /// Where the tree is.
        dir: PathBuf,
        /// What is left, with its unit.
        free: String,
        /// What there is.
        whole: String,
        /// [`crate::core::limits::Limits::disk_floor_percent`] of that, or less.
        floor: String,
    },
}

impl TreeError {
    /// A failure to do `action` to `path`; names that no file can have are the image's fault.
    pub(super) fn io(action: &'static str, path: &[u8], errno: Errno) -> Self {
        let (path, source) = (Shown::new(path), errno.into());
        match errno {
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Self::Name { path, source },
            Errno::NOTDIR => Self::NotADirectory { path },
            Errno::LOOP => Self::TooManyLinks { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// A failure to keep the times of directories until they are set.
    pub(super) fn dates(source: io::Error) -> Self {
        Self::Io { action: "keep the times of directories of", path: Shown::new(b""), source }
    }

    pub(super) fn too_long(path: &[u8]) -> Self {
        Self::Name { path: Shown::new(path), source: Errno::NAMETOOLONG.into() }
    }
}

/// What the disk says, as a case of the taxonomy.
fn kind_of_io(source: &io::Error) -> Kind {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::StoreFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::StoreInvalid,
        _ => Kind::StoreFailed,
    }
}

impl Classify for TreeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => kind_of_io(source),
            // The disk is full as well, or else it is [`Self::Attributes`].
            Self::Attribute { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::StoreInvalid,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::StoreFailed,
                _ => Kind::InvalidContent,
            },
            Self::Name { .. }
            | Self::NotADirectory { .. }
            | Self::TooManyLinks { .. }
            | Self::LinkTarget { .. }
            | Self::SymlinkTarget { .. }
            | Self::WhiteoutName { .. }
            | Self::WhiteoutOfOwn { .. }
            | Self::Removed { .. }
            | Self::Attributes { .. }
            | Self::Unsupported { .. }
            | Self::Lower { .. }
            | Self::TooLarge { .. } => Kind::InvalidContent,
            Self::Inherited { .. } | Self::Memory => Kind::Unsupported,
            Self::NoRoom { .. } => Kind::StoreFull,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self.kind() {
            Kind::StoreFull => "free some space and run the same command again".into(),
            Kind::StoreInvalid => {
                "unpacking needs root's rights on the snapshotter's file system: owners, devices and attributes".into()
            }
            Kind::Unsupported => "let containerd unpack this image itself: its diff service can".into(),
            Kind::StoreFailed => match self {
                Self::Attribute { .. } => "the snapshotter's file system has no room for this attribute".into(),
                _ => return None,
            },
            _ => "the publisher has to rebuild and push this image; no retry will help".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::Blame;

    #[test]
    fn paths_are_shown_without_harm() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "/"),
            (b"usr/bin/\xc3\xa9", "usr/bin/é"),
            (b"a\x1b[2Jb\nc", "a\\u{1b}[2Jb\\nc"),
            (b"a\xffb", "a\u{fffd}b"),
            ("x\u{202e}gnp.exe".as_bytes(), "x\\u{202e}gnp.exe"),
        ];
        for (path, expected) in cases {
            assert_eq!(Shown::new(path).to_string(), expected);
        }
    }

    #[test]
    fn who_is_to_blame() {
        let attribute = |errno: Errno| TreeError::Attribute {
            path: Shown::new(b"a"),
            name: Shown::new(b"user.a"),
            source: errno.into(),
        };
        let cases = [
            (TreeError::io("write", b"a", Errno::NOSPC), Kind::StoreFull, Blame::Node),
            (TreeError::io("write", b"a", Errno::DQUOT), Kind::StoreFull, Blame::Node),
            (TreeError::io("create", b"a", Errno::PERM), Kind::StoreInvalid, Blame::Node),
            (TreeError::io("create", b"a", Errno::ROFS), Kind::StoreInvalid, Blame::Node),
            (TreeError::io("write", b"a", Errno::IO), Kind::StoreFailed, Blame::Node),
            (TreeError::io("create", b"a", Errno::NAMETOOLONG), Kind::InvalidContent, Blame::Image),
            (TreeError::io("create", b"a", Errno::NOTDIR), Kind::InvalidContent, Blame::Image),
            (attribute(Errno::INVAL), Kind::InvalidContent, Blame::Image),
            (attribute(Errno::NOSPC), Kind::StoreFailed, Blame::Node),
            (attribute(Errno::PERM), Kind::StoreInvalid, Blame::Node),
            (
                TreeError::Attributes { path: Shown::new(b"a"), name: Shown::new(b"user.a") },
                Kind::InvalidContent,
                Blame::Image,
            ),
        ];
        for (error, kind, blame) in cases {
            assert_eq!((error.kind(), error.blame()), (kind, blame), "{error}");
        }
    }
}
