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

    /// The binary that the kernel loads in the end, where one was found.
    #[must_use]
    pub fn binary(&self) -> Option<(&File, &Binary)> {
        match self.start.as_ref()?.steps.last()? {
            Step { file, what: What::Elf(binary) } => Some((file, binary)),
            _ => None,
        }
    }
}

/// What happens when the image is started, as far as its files tell.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The program, then the interpreters of scripts, in the order in which the kernel opens them.
    pub steps: Vec<Step>,
    /// Where the steps end before a binary is reached.
    pub stopped: Option<Stopped>,
    /// What that is going to start in turn, where it is `sh -c`, `env` or a small init.
    pub shell: Option<Shell>,
    /// The dynamic loader of the binary.
    pub loader: Option<Loader>,
    /// Other binaries of the image that are not of the program's architecture, where all were
    /// looked at; by path, and as many as one reads.
    pub others: Vec<(File, Box<Binary>)>,
    /// `os-release` of the image.
    pub distribution: Option<Distribution>,
    /// What stands in the place of the working directory, where that is no directory. Runtimes make
    /// one that is missing.
    pub no_directory: Option<&'static str>,
    /// What the looking cost.
    pub cost: Cost,
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

/// What a shell, or another program that starts programs, is told to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program, as it is written there.
    pub word: String,
    /// It is not in the image; all layers were looked through.
    pub absent: bool,
    /// What was found under it: the same as for a program. Best effort: a shell may do anything.
    pub found: Option<(File, What)>,
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
        others: Vec<String>,
    },
    /// It could not be found out.
    NotRead(NotRead),
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
