//! Which parts of a file say more than its start does.

use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{BigEndian, LittleEndian};

use super::super::extract::Extract;
use super::{Layout, interpreter, load, notes};

/// Ranges that are asked for, and their bytes together.
const MOST: usize = 4;
const BUDGET: u64 = 512 * 1024;
/// Linux takes program headers of at most so many bytes.
const PROGRAM_HEADERS: u64 = 64 * 1024;
/// Go's description of a build lies in the first 64 KiB of the data, and ends within this.
const GO_DATA: u64 = 192 * 1024;
/// Notes and attributes have some hundred bytes.
const NOTE: u64 = 4096;
/// Headers of sections.
const SECTIONS: u64 = 64 * 1024;
/// Behind what is loaded, where a file without debug information has its attributes.
const BEHIND: u64 = 4096;
/// The end of a file: the last sections of a stripped one.
const TAIL: u64 = 32 * 1024;
/// Scripts say at their end what they start. The longest that official images begin with have 20 KiB.
const SCRIPT: u64 = 64 * 1024;

/// Where a file has more to say about what it needs than in its `prefix`, which is all that is
/// known of it; `size` is that of the whole file.
///
/// At most 4 ranges of 512 KiB together, in the order of the file, none inside of the prefix.
/// Only for what can decide something: Go's settings where the architecture has levels, build
/// attributes of 32-bit ARM and RISC-V, notes of x86-64, headers that lie elsewhere, and the rest of
/// a script. They are
/// worth keeping while a file streams by. Whoever pays for every byte can leave them out: what
/// they say is then unknown, and the machine is known all the same.
#[must_use]
pub fn further(prefix: &[u8], size: u64) -> Vec<Range<u64>> {
    let have = prefix.len() as u64;
    if have >= size {
        return Vec::new();
    }
    if prefix.starts_with(b"#!") {
        return affordable(vec![part(0, SCRIPT, SCRIPT)], have..size);
    }
    let Ok(Some(layout)) = Layout::of(prefix) else { return Vec::new() };
    let file = Extract::new(size, prefix.to_vec());
    let wanted = match layout {
        Layout::Little32 => wanted::<FileHeader32<LittleEndian>>(&file, LittleEndian),
        Layout::Big32 => wanted::<FileHeader32<BigEndian>>(&file, BigEndian),
        Layout::Little64 => wanted::<FileHeader64<LittleEndian>>(&file, LittleEndian),
        Layout::Big64 => wanted::<FileHeader64<BigEndian>>(&file, BigEndian),
    };
    affordable(wanted.unwrap_or_default(), have..size)
}

/// The most telling first.
fn wanted<H: FileHeader>(file: &Extract, endian: H::Endian) -> Option<Vec<Range<u64>>> {
    let header = H::parse(file).ok()?;
    let Ok(segments) = header.program_headers(endian, file) else {
        let length = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
        return Some(vec![part(header.e_phoff(endian).into(), length, PROGRAM_HEADERS)]);
    };
    let machine = header.e_machine(endian);
    let mut wanted = Vec::new();
    for segment in segments {
        let most = match segment.p_type(endian) {
            elf::PT_INTERP => interpreter::LONGEST,
            elf::PT_RISCV_ATTRIBUTES if machine == elf::EM_RISCV => NOTE,
            _ if machine == elf::EM_X86_64 && notes::is_note(segment, endian) => NOTE,
            _ => continue,
        };
        let (start, length) = segment.file_range(endian);
        wanted.push(part(start, length, most));
    }
    if is_go(header, segments, endian, file) {
        // In a program that can lie anywhere it follows what a loader has to change, however much that is.
        let at_start = has_levels(machine) && header.e_type(endian) == elf::ET_EXEC;
        if let Some(data) = segments.iter().find(|segment| at_start && load::is_writable(*segment, endian)) {
            let (start, length) = data.file_range(endian);
            wanted.push(part(start, length, GO_DATA));
        }
    } else if machine == elf::EM_ARM {
        let loads = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        let ends = loads.map(|segment| segment.file_range(endian)).map(|(start, length)| start.saturating_add(length));
        let sections = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
        wanted.push(part(header.e_shoff(endian).into(), sections, SECTIONS));
        wanted.extend(ends.max().map(|end| part(end, BEHIND, BEHIND)));
        wanted.push(part(file.size().saturating_sub(TAIL), TAIL, TAIL));
    }
    Some(wanted)
}

/// Go's own linker puts the headers of sections before everything else, which no other one does.
/// Where another linked a static program, Go's note is left. Of a dynamic one the description lies
/// somewhere behind all that its loader changes.
fn is_go<H: FileHeader>(header: &H, segments: &[H::ProgramHeader], endian: H::Endian, file: &Extract) -> bool {
    let sections: u64 = header.e_shoff(endian).into();
    let is_dynamic = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    let is_noted = !is_dynamic && notes::is_go(segments, endian, file);
    (1..file.prefix().len() as u64).contains(&sections) || is_noted
}

/// Architectures of which Go can be told which level to build for.
fn has_levels(machine: elf::Machine) -> bool {
    matches!(machine, elf::EM_X86_64 | elf::EM_ARM | elf::EM_AARCH64 | elf::EM_PPC64 | elf::EM_RISCV)
}

fn part(start: u64, length: u64, most: u64) -> Range<u64> {
    start..start.saturating_add(length.min(most))
}

/// What lies within `unread`, as far as the budget goes, sorted and joined.
fn affordable(wanted: Vec<Range<u64>>, unread: Range<u64>) -> Vec<Range<u64>> {
    let mut left = BUDGET;
    let mut chosen: Vec<Range<u64>> = Vec::new();
    for range in wanted {
        let range = range.start.max(unread.start)..range.end.min(unread.end);
        if range.start >= range.end || chosen.len() == MOST {
            continue;
        }
        let range = range.start..range.end.min(range.start.saturating_add(left));
        left -= range.end - range.start;
        if !range.is_empty() {
            chosen.push(range);
        }
    }
    chosen.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(chosen.len());
    for range in chosen {
        match joined.last_mut() {
            Some(before) if range.start <= before.end => before.end = before.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
