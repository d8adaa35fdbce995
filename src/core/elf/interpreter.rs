//! The dynamic loader that a binary asks for.

use object::elf;
use object::read::elf::ProgramHeader;

use super::super::extract::Extract;

/// Longest interpreter path that Linux accepts (`PATH_MAX`).
pub(super) const LONGEST: u64 = 4096;

/// The dynamic loader that a binary asks for (`PT_INTERP`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// None: the binary is static, or is a loader itself.
    None,
    /// Its path.
    Path(String),
    /// There may be one; the program headers or the path lie beyond what was kept.
    BeyondPrefix,
}

/// The C library that a dynamic loader belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libc {
    /// GNU's, of most distributions.
    Glibc,
    /// Alpine's, among others.
    Musl,
    /// Android's.
    Bionic,
    /// Of embedded systems.
    Uclibc,
}

impl Interpreter {
    /// The C library that the path speaks of.
    #[must_use]
    pub fn libc(&self) -> Option<Libc> {
        let Self::Path(path) = self else { return None };
        let name = path.rsplit('/').next().unwrap_or_default();
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if begins(&["ld-musl-"]) {
            Some(Libc::Musl)
        } else if begins(&["ld-linux", "ld64.so.", "ld.so.", "ld-2."]) {
            Some(Libc::Glibc)
        } else if begins(&["ld-uClibc", "ld64-uClibc"]) {
            Some(Libc::Uclibc)
        } else if matches!(name, "linker" | "linker64") {
            Some(Libc::Bionic)
        } else {
            None
        }
    }
}

pub(super) fn read<P: ProgramHeader>(segments: &[P], endian: P::Endian, file: &Extract) -> Interpreter {
    let Some(segment) = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_INTERP) else {
        return Interpreter::None;
    };
    match segment.interpreter(endian, file) {
        Ok(Some(path)) if (path.len() as u64) < LONGEST => {
            Interpreter::Path(String::from_utf8_lossy(path).into_owned())
        }
        _ => Interpreter::BeyondPrefix,
    }
}
