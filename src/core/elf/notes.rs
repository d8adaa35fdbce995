//! Notes: what a linker wrote down about the CPU that an x86-64 program needs.
//!
//! Specification: x86-64 psABI, "Program Property"; Linux Extensions to gABI, "GNU_PROPERTY_X86_ISA_1_NEEDED".

use std::ops::Range;

use object::elf;
use object::read::elf::{NoteIterator, ProgramHeader};

use super::super::extract::Extract;

/// `GNU_PROPERTY_X86_ISA_1_*`: one bit for each of baseline, v2, v3 and v4.
const LEVELS: u32 = 0b1111;
/// Owner of the note in which Go keeps the identity of a build.
const GO: &[u8] = b"Go";

/// The level, 1 to 4, that the first such note demands, and where its bits lie in the file.
pub(super) fn x86<P: ProgramHeader>(segments: &[P], endian: P::Endian, file: &Extract) -> Option<(u8, Range<u64>)> {
    segments.iter().filter(|segment| is_note(*segment, endian)).find_map(|segment| {
        let data = segment.data(endian, file).ok()?;
        let notes = NoteIterator::<P::Elf>::new(endian, segment.p_align(endian), data).ok()?;
        let needed = notes
            .map_while(Result::ok)
            .filter_map(|note| note.gnu_properties(endian))
            .flat_map(|properties| properties.map_while(Result::ok))
            .find(|property| property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED)?;
        let bits = needed.data_u32(endian).ok()? & LEVELS;
        let start: u64 = segment.p_offset(endian).into();
        let at = start + (needed.pr_data().as_ptr() as usize - data.as_ptr() as usize) as u64;
        Some((u8::try_from(bits.checked_ilog2()?).ok()? + 1, at..at + 4))
    })
}

/// Go's own linker and `go build` leave a note with the identity of the build.
pub(super) fn is_go<P: ProgramHeader>(segments: &[P], endian: P::Endian, file: &Extract) -> bool {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_NOTE).any(|segment| {
        let notes = segment.data(endian, file).ok();
        let notes = notes.and_then(|data| NoteIterator::<P::Elf>::new(endian, segment.p_align(endian), data).ok());
        notes.is_some_and(|notes| notes.map_while(Result::ok).any(|note| note.name() == GO))
    })
}

pub(super) fn is_note<P: ProgramHeader>(segment: &P, endian: P::Endian) -> bool {
    matches!(segment.p_type(endian), elf::PT_NOTE | elf::PT_GNU_PROPERTY)
}
