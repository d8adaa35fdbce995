//! From the bytes of an ELF file to a [`Binary`].

use std::ops::Range;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endian, ReadRef};

use super::super::extract::Extract;
use super::arm::ArmAttributes;
use super::binary::{Binary, Class, Endianness, ObjectType};
use super::go::{self, GoBuild};
use super::interpreter::{self, Interpreter};
use super::load::{self, Load};
use super::{attributes, notes};

/// Only what was kept can be read; the rest looks like the end of the file to the parser, whose
/// callers turn that into "unknown".
impl<'a> ReadRef<'a> for &'a Extract {
    fn len(self) -> Result<u64, ()> {
        Ok(self.size())
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size == 0 {
            return Ok(&[]);
        }
        self.get(offset..offset.checked_add(size).ok_or(())?).ok_or(())
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let bytes = self.get(range).ok_or(())?;
        let end = memchr::memchr(delimiter, bytes).ok_or(())?;
        Ok(&bytes[..end])
    }
}

/// `None` where the header is cut off.
pub(super) fn binary<H: FileHeader>(file: &Extract, endian: H::Endian) -> Option<Binary> {
    let header = H::parse(file).ok()?;
    let machine = header.e_machine(endian);
    let segments = header.program_headers(endian, file).ok();
    let known = segments.unwrap_or_default();
    let sections = header.section_headers(endian, file).unwrap_or_default();
    let x86 = if machine == elf::EM_X86_64 { notes::x86(known, endian, file) } else { None };
    let (x86_level, x86_note) = x86.unzip();
    Some(Binary {
        machine: machine.0,
        class: if header.is_type_64() { Class::Elf64 } else { Class::Elf32 },
        endianness: if endian.is_big_endian() { Endianness::Big } else { Endianness::Little },
        os_abi: header.e_ident().os_abi.0,
        flags: header.e_flags(endian).0,
        object_type: ObjectType::from(header.e_type(endian)),
        entry: header.e_entry(endian).into(),
        interpreter: segments.map_or(Interpreter::BeyondPrefix, |known| interpreter::read(known, endian, file)),
        loads: segments.map(|known| loads(known, endian)),
        x86_level,
        x86_note,
        arm: if machine == elf::EM_ARM { arm::<H>(sections, endian, file) } else { None },
        riscv_arch: if machine == elf::EM_RISCV { riscv::<H>(known, sections, endian, file) } else { None },
        go: go_build(header, known, endian, file),
    })
}

fn loads<P: ProgramHeader>(segments: &[P], endian: P::Endian) -> Vec<Load> {
    let loads = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    // Linux takes a table of at most 64 KiB, which has room for fewer.
    loads.take(load::MOST).map(|segment| Load::of(segment, endian)).collect()
}

fn arm<H: FileHeader>(sections: &[H::SectionHeader], endian: H::Endian, file: &Extract) -> Option<ArmAttributes> {
    let section = sections.iter().find(|section| section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES)?;
    let data = section.data(endian, file).ok()?;
    let start: u64 = section.sh_offset(endian).into();
    Some(ArmAttributes::of(&attributes::arm::<H>(endian, data), start..start + data.len() as u64))
}

fn riscv<H: FileHeader>(
    segments: &[H::ProgramHeader],
    sections: &[H::SectionHeader],
    endian: H::Endian,
    file: &Extract,
) -> Option<String> {
    let segment = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_RISCV_ATTRIBUTES);
    let section = sections.iter().find(|section| section.sh_type(endian) == elf::SHT_RISCV_ATTRIBUTES);
    let data = segment.and_then(|segment| segment.data(endian, file).ok());
    let data = data.or_else(|| section.and_then(|section| section.data(endian, file).ok()))?;
    attributes::riscv_arch::<H>(endian, data)
}

/// Go puts the description of a build into a section of its own, which is at the start of what
/// is writable unless another linker had a hand in it.
fn go_build<H: FileHeader>(
    header: &H,
    segments: &[H::ProgramHeader],
    endian: H::Endian,
    file: &Extract,
) -> Option<GoBuild> {
    let sections = header.sections(endian, file).ok();
    let section =
        sections.and_then(|sections| Some(sections.section_by_name(endian, go::SECTION)?.1.file_range(endian)));
    let writable = segments.iter().find(|segment| load::is_writable(*segment, endian));
    let (start, size) = section.flatten().or_else(|| Some(writable?.file_range(endian)))?;
    go::find(file, start, size)
}
