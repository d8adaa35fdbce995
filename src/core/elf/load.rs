//! What the kernel maps of a program, and whether that can be done with pages of some size.
//!
//! Linux maps each `PT_LOAD` with file bytes from the start of the page of its address
//! (`elf_map` in `fs/binfmt_elf.c`): the offset in the file, less the place of the address in its
//! page, has to begin a page, else mmap(2) gives EINVAL and the new program is killed with
//! SIGSEGV. `p_align` is not looked at. Each mapping replaces what an earlier one has in the same
//! page, permissions included, so that code which shares a page with data that follows it cannot
//! be executed. Both were seen on Linux 6.18 with pages of 4 KiB. glibc before 2.35 also refuses
//! *libraries* whose `p_align` is less than a page; nobody does that to the program itself.

use object::elf;
use object::read::elf::ProgramHeader;

/// Linux takes program headers of at most 64 KiB, that is so many of 32 bytes.
pub(super) const MOST: usize = 2048;

/// A part of the file that the kernel maps into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Where it begins in the file.
    pub offset: u64,
    /// Where it begins in memory.
    pub address: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory; what the file does not have is zero.
    pub memory_size: u64,
    /// What the linker aligned it to.
    pub align: u64,
    /// It can be read, written, executed: bits 4, 2 and 1 (`PF_R`, `PF_W`, `PF_X`).
    pub permissions: u32,
}

/// Why a program cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit<'a> {
    /// Offset and address lie at different places in their pages.
    Shifted(&'a Load),
    /// The first loses a permission to the second, which begins in the page where it ends.
    Shared(&'a Load, &'a Load),
}

impl Load {
    pub(super) fn of<P: ProgramHeader>(segment: &P, endian: P::Endian) -> Self {
        Self {
            offset: segment.p_offset(endian).into(),
            address: segment.p_vaddr(endian).into(),
            file_size: segment.p_filesz(endian).into(),
            memory_size: segment.p_memsz(endian).into(),
            align: segment.p_align(endian).into(),
            permissions: segment.p_flags(endian).0 & 0b111,
        }
    }
}

pub(super) fn is_writable<P: ProgramHeader>(segment: &P, endian: P::Endian) -> bool {
    segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian).0 & elf::PF_W.0 != 0
}

/// The first reason for which a kernel with pages of `page` bytes cannot map these; a size that
/// is no power of two is no size of a page, and there is none.
pub(super) fn misfit(loads: &[Load], page: u64) -> Option<Misfit<'_>> {
    if !page.is_power_of_two() {
        return None;
    }
    // Segments without bytes in the file are not mapped from it.
    let mapped = || loads.iter().filter(|load| load.file_size > 0);
    let shifted = mapped().find(|load| load.address.wrapping_sub(load.offset) % page != 0).map(Misfit::Shifted);
    shifted.or_else(|| {
        let pairs = mapped().zip(mapped().skip(1));
        pairs
            .into_iter()
            .find(|(first, second)| takes_permission(first, second, page))
            .map(|(a, b)| Misfit::Shared(a, b))
    })
}

fn takes_permission(first: &Load, second: &Load, page: u64) -> bool {
    let last = first.address.saturating_add(first.file_size - 1);
    second.address >= first.address
        && last / page >= second.address / page
        && first.permissions & !second.permissions != 0
}
