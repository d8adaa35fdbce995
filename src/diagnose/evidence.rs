//! Evidence from the bytes of a file.

use std::ops::Range;

use super::finding::Evidence;
use super::rootfs::File;
use crate::core::elf::{Binary, Class};
use crate::core::text;

/// Bytes of a description; what strangers wrote is not bounded otherwise.
const WORDS: usize = 320;
/// Bytes that are shown of one place.
const SHOWN: u64 = 64;
/// `e_ident`.
const IDENT: Range<u64> = 0..16;
/// `e_machine`.
const MACHINE: Range<u64> = 0x12..0x14;

/// The path of a file in a message, on one line.
pub(super) fn name(file: &File) -> String {
    text::one_line(&file.path, WORDS)
}

/// Something that a file says, wherever in it.
pub(super) fn of_file(file: &File, what: impl Into<String>) -> Evidence {
    Evidence {
        what: text::one_line(&what.into(), WORDS),
        digest: Some(file.layer.clone()),
        path: Some(file.path.clone()),
        verified: file.verified,
        ..Evidence::default()
    }
}

/// Something that a part of a file says. The bytes are left out where they were not kept.
pub(super) fn in_file(file: &File, what: impl Into<String>, at: Range<u64>) -> Evidence {
    let shown = at.start..at.end.min(at.start.saturating_add(SHOWN));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Evidence { offset: Some(at.start), bytes: file.content.get(shown).map(hex), ..of_file(file, what) }
}

/// What the header of an ELF file says about the machine, with the bytes.
pub(super) fn header(file: &File, binary: &Binary) -> Vec<Evidence> {
    let width = if binary.class == Class::Elf64 { "64-bit" } else { "32-bit" };
    let machine = format!("e_machine of the ELF header: {} ({})", binary.machine, binary.machine_text());
    let mut shown =
        vec![in_file(file, format!("e_ident of the ELF header: {width}"), IDENT), in_file(file, machine, MACHINE)];
    if binary.flags != 0 {
        shown.push(flags(file, binary));
    }
    shown
}

/// `e_flags` of an ELF file.
pub(super) fn flags(file: &File, binary: &Binary) -> Evidence {
    let at = if binary.class == Class::Elf64 { 0x30..0x34 } else { 0x24..0x28 };
    in_file(file, format!("e_flags of the ELF header: {:#x}", binary.flags), at)
}
