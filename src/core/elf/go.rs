//! What Go writes into every program about how it was built.
//!
//! Specification: Go's `debug/buildinfo`; the form with inline strings, since Go 1.18. The older
//! form points into memory and is only recognised.

use super::super::extract::Extract;

/// The section that has it.
pub(super) const SECTION: &[u8] = b".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It begins at a multiple of this.
const ALIGN: u64 = 16;
/// Go itself searches this much of the data for it.
const SEARCHED: u64 = 64 * 1024;
/// Magic number, size of a pointer, flags, padding.
const HEADER: u64 = 32;
/// The flag of inline strings.
const INLINE: u8 = 2;
/// Lengths of strings that are believed. A description names every module in a program: those of
/// the largest have some 60 KiB.
const LONGEST_VERSION: u64 = 256;
const LONGEST_MODULES: u64 = 256 * 1024;
/// What surrounds the description.
const SENTINEL: usize = 16;
/// Settings that are kept, and the bytes of one.
const MOST_SETTINGS: usize = 32;
const LONGEST_SETTING: usize = 128;

/// How a Go program was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoBuild {
    /// As in `go1.22.3`; `None` where Go is older than 1.18 or the text was not kept.
    pub version: Option<String>,
    /// Settings about platform and C code; `None` where they were not written or not kept.
    pub settings: Option<Vec<GoSetting>>,
    /// Where the description begins in the file.
    pub at: u64,
}

/// One setting, as in `GOARM=7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoSetting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where its name begins in the file.
    pub at: u64,
}

impl GoBuild {
    /// A setting, as in `GOAMD64`.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&GoSetting> {
        self.settings.as_ref()?.iter().find(|setting| setting.name == name)
    }

    /// Built with C code in it, which the other settings do not speak for.
    #[must_use]
    pub fn has_c(&self) -> Option<bool> {
        self.setting("CGO_ENABLED").map(|setting| setting.value == "1")
    }
}

/// Searches the start of a segment or section of `size` bytes that begins at `start`.
pub(super) fn find(file: &Extract, start: u64, size: u64) -> Option<GoBuild> {
    let first = start.checked_next_multiple_of(ALIGN)?;
    let end = start.checked_add(size.min(SEARCHED))?.min(file.size());
    let step = usize::try_from(ALIGN).ok()?;
    let mut places = (first..end).step_by(step);
    let at = places.find(|at| file.get(*at..at.saturating_add(MAGIC.len() as u64)) == Some(MAGIC))?;
    let header = file.get(at..at.checked_add(HEADER)?)?;
    if header[MAGIC.len() + 1] & INLINE == 0 {
        return Some(GoBuild { version: None, settings: None, at });
    }
    let version = text(file, at + HEADER, LONGEST_VERSION);
    let modules = version.and_then(|(_, end)| text(file, end, LONGEST_MODULES));
    Some(GoBuild {
        version: version.map(|(text, _)| String::from_utf8_lossy(text).into_owned()),
        settings: modules.and_then(|(text, end)| settings(text, end - text.len() as u64)),
        at,
    })
}

/// A string with its length before it, and where it ends.
fn text(file: &Extract, at: u64, longest: u64) -> Option<(&[u8], u64)> {
    let mut length = 0u64;
    let mut start = at;
    // Lengths that are believed have at most three bytes.
    for shift in [0, 7, 14] {
        let byte = *file.get(start..start + 1)?.first()?;
        length |= u64::from(byte & 0x7f) << shift;
        start += 1;
        if byte < 0x80 {
            let end = start + length;
            return if length <= longest { Some((file.get(start..end)?, end)) } else { None };
        }
    }
    None
}

/// `None` where nothing was written.
fn settings(description: &[u8], start: u64) -> Option<Vec<GoSetting>> {
    let inner = description.get(SENTINEL..description.len().checked_sub(SENTINEL)?)?;
    let mut at = start + SENTINEL as u64;
    let mut found = Vec::new();
    for line in inner.split(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"build\t")
            && let Some(setting) = setting(rest, at + (line.len() - rest.len()) as u64)
            && found.len() < MOST_SETTINGS
        {
            found.push(setting);
        }
        at += line.len() as u64 + 1;
    }
    Some(found)
}

/// Paths, flags of compilers and the like are nobody's business here.
fn setting(line: &[u8], at: u64) -> Option<GoSetting> {
    let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= LONGEST_SETTING)?;
    let (name, value) = line.split_once('=')?;
    let wanted = name.starts_with("GO") || name == "CGO_ENABLED";
    wanted.then(|| GoSetting { name: name.into(), value: value.trim_matches('"').into(), at })
}
