//! What was found out about one image: plain values, on which the checks work.

use std::fmt;

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::elf::{Binary, ElfError};
use crate::core::manifest::{ImageConfig, Manifest};
use crate::core::platform::Platform;
use crate::core::select::EntryPath;

use super::rootfs::{Cost, File, NotRead};

/// One manifest of a reference, with what is behind it.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Where it stands in the index; empty for a lone manifest.
    pub path: EntryPath,
    /// As the index has it, or the root's own.
    pub descriptor: Descriptor,
    /// The manifest and its config.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// What it starts; `None` where the layers were not looked into.
    pub start: Option<Start>,
}

impl Contents {
    /// The platform that clients go by: the index's word, else the config's. Normalised.
    #[must_use]
    pub fn claimed(&self) -> Platform {
        self.descriptor.platform.as_ref().unwrap_or(&self.config.platform).normalized()
    }

    /// It is an image, and what it starts is looked for as Linux does it. Programs of other systems
    /// are found, and are built, in other ways.
    #[must_use]
    pub fn is_of_linux(&self) -> bool {
        self.manifest.config.media_type.is_config() && matches!(self.claimed().os.as_str(), "" | "linux")
    }

    /// The binaries that run for certain when the image is started, in their order, as far as they
    /// were found: the first program's, and those that are started in its place.
    pub fn binaries(&self) -> impl Iterator<Item = (&File, &Binary)> {
        self.start.iter().flat_map(Start::certain).filter_map(Chain::binary)
    }

    /// The binary that the image is made for: the last of those that run for certain. One of another
    /// architecture than the first's is out of place, and no measure of the image.
    #[must_use]
    pub fn binary(&self) -> Option<(&File, &Binary)> {
        let (_, first) = self.binaries().next()?;
        self.binaries().filter(|(_, binary)| binary.architecture() == first.architecture()).last()
    }
}

/// What happens when the image is started, as far as its files tell.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What the kernel makes of that.
    pub first: Chain,
    /// The programs that are started in its place, each by the one before: `exec "$@"` of a script,
    /// `sh -c`, `env`, a small init.
    pub next: Vec<Next>,
    /// Other binaries of the image that are not of the program's architecture, where all were
    /// looked at; by path, and as many as one reads.
    pub others: Vec<Other>,
    /// `os-release` of the image.
    pub distribution: Option<Distribution>,
    /// What stands in the place of the working directory, where that is no directory. Runtimes make
    /// one that is missing.
    pub no_directory: Option<&'static str>,
    /// What the looking cost.
    pub cost: Cost,
}

impl Start {
    /// What is started for certain.
    pub fn certain(&self) -> impl Iterator<Item = &Chain> {
        let next = self.next.iter().take_while(|next| next.certain).map(|next| &next.chain);
        [&self.first].into_iter().chain(next)
    }
}

/// What the kernel does to start one program.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The program, then the interpreters of scripts, in the order in which the kernel opens them.
    pub steps: Vec<Step>,
    /// Where the steps end before a binary is reached.
    pub stopped: Option<Stopped>,
    /// The dynamic loader of the binary.
    pub loader: Option<Loader>,
}

impl Chain {
    /// The binary that the kernel loads in the end, where one was found.
    #[must_use]
    pub fn binary(&self) -> Option<(&File, &Binary)> {
        match self.steps.last()? {
            Step { file, what: What::Elf(binary) } => Some((file, binary)),
            _ => None,
        }
    }

    /// The kernel gets as far as to run it, on the right CPU and for all that is known.
    #[must_use]
    pub fn starts(&self) -> bool {
        let found = self.loader.as_ref().map(|loader| &loader.found);
        let is_loaded = !matches!(found, Some(LoaderFound::Absent { .. } | LoaderFound::Foreign(_)));
        let is_allowed = self.steps.iter().all(|step| step.file.is_executable());
        self.stopped.is_none() && is_allowed && is_loaded && self.binary().is_some()
    }
}

/// A program that the one before it starts in its own place.
#[derive(Debug, Clone)]
pub struct Next {
    /// Who starts it.
    pub by: By,
    /// How it was got to, from the program of the image on: `entrypoint.sh -> "$@" -> postgres`.
    pub way: String,
    /// It and its arguments, as far as they are known.
    pub argv: Vec<String>,
    /// It is started, whatever else happens on the way. Otherwise it may be.
    pub certain: bool,
    /// What is started may have another name than the one that was looked for, so that nothing is
    /// wrong where there is no program of that name.
    pub renamed: bool,
    /// What the kernel makes of it.
    pub chain: Chain,
}

/// Who starts another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A shell, which also runs text without `#!`.
    Shell,
    /// A program that is for starting others: `env`, `tini`, `gosu`.
    Starter,
}

/// A binary beside those that are started.
#[derive(Debug, Clone)]
pub struct Other {
    /// The file.
    pub file: File,
    /// What it is.
    pub binary: Box<Binary>,
    /// It lies where programs or libraries are looked for by their bare names.
    pub in_the_way: bool,
}

/// A file that the kernel opens.
#[derive(Debug, Clone)]
pub struct Step {
    /// The file.
    pub file: File,
    /// What it is.
    pub what: What,
}

/// What a file is to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A binary.
    Elf(Box<Binary>),
    /// It claims to be a binary.
    Damaged(ElfError),
    /// `#!`: the interpreter and its argument, as the kernel reads the line.
    Script {
        /// Path of the interpreter; a carriage return at its end is a part of it.
        interpreter: String,
        /// The rest of the line.
        argument: Option<String>,
        /// The line is longer than what the kernel reads (`BINPRM_BUF_SIZE`).
        cut: bool,
    },
    /// Nothing in it at all.
    Empty,
    /// Text or bytes that the kernel refuses ("exec format error"): a script without `#!`, say.
    Foreign {
        /// It begins like text.
        is_text: bool,
    },
}

impl What {
    /// The binary that it is.
    #[must_use]
    pub fn binary(&self) -> Option<&Binary> {
        match self {
            Self::Elf(binary) => Some(binary),
            _ => None,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(binary) => binary.fmt(f),
            Self::Damaged(error) => write!(f, "damaged: {error}"),
            Self::Script { interpreter, argument: Some(argument), .. } => {
                write!(f, "a script for {} {}", interpreter.escape_debug(), argument.escape_debug())
            }
            Self::Script { interpreter, .. } => write!(f, "a script for {}", interpreter.escape_debug()),
            Self::Empty => f.write_str("an empty file"),
            Self::Foreign { is_text: true } => f.write_str("text without \"#!\""),
            Self::Foreign { is_text: false } => f.write_str("no program for Linux"),
        }
    }
}

/// Why there is no next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The image names no program.
    NoProgram,
    /// The program, or the interpreter of a script, is not in the image.
    Absent {
        /// What was looked for.
        asked: Vec<String>,
    },
    /// It is there and no file.
    Other {
        /// What was looked for.
        asked: String,
        /// What is there.
        kind: &'static str,
    },
    /// Symbolic links that lead to themselves.
    Loop {
        /// What was looked for.
        asked: String,
    },
    /// Scripts whose interpreters are scripts, deeper than the kernel follows.
    TooDeep,
    /// It could not be found out.
    NotRead {
        /// What was looked for.
        asked: Vec<String>,
        /// Why.
        why: NotRead,
    },
}

/// The dynamic loader that a binary asks for.
#[derive(Debug, Clone)]
pub struct Loader {
    /// Its path, as the binary has it.
    pub asked: String,
    /// What is there.
    pub found: LoaderFound,
}

/// What is at a loader's path.
#[derive(Debug, Clone)]
pub enum LoaderFound {
    /// A binary.
    Elf(File, Box<Binary>),
    /// A file that is none.
    Foreign(File),
    /// Nothing; all layers were looked through.
    Absent {
        /// Other loaders that are in the image, as far as they are among the known ones.
        others: Vec<OtherLoader>,
    },
    /// It could not be found out.
    NotRead(NotRead),
}

/// A loader that no program was found to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherLoader {
    /// Its path.
    pub path: String,
    /// What it is built for, where that has a name.
    pub architecture: Option<&'static str>,
}

/// What `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`, as in `almalinux`.
    pub id: String,
    /// `ID_LIKE`, split.
    pub like: Vec<String>,
    /// `VERSION_ID`, as in `9.4`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
    /// The layer that says so.
    pub layer: Digest,
    /// That layer was read whole and its digest held.
    pub verified: bool,
}
