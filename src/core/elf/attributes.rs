//! Build attributes: tags with numbers or texts, which linkers leave at the end of a file.
//!
//! Specification: Addenda to the ABI for the Arm Architecture, "Build attributes"; RISC-V ELF
//! psABI, "Attributes".

use object::read::elf::{AttributeReader, AttributesSection, FileHeader};

/// More tags than any specification has.
const MOST: usize = 256;
/// Longest architecture string that is kept; real ones have less than 400 bytes.
const LONGEST: usize = 2048;
/// `Tag_RISCV_arch`.
const RISCV_ARCH: u64 = 5;
/// `Tag_compatibility` of ARM: a number and a text.
const ARM_COMPATIBILITY: u64 = 32;

/// The numbers that ARM's tags have, for the file as a whole.
pub(super) fn arm<H: FileHeader>(endian: H::Endian, data: &[u8]) -> Vec<(u64, u64)> {
    let Some(mut reader) = of_file::<H>(endian, data, b"aeabi") else { return Vec::new() };
    let mut numbers = Vec::new();
    while numbers.len() < MOST
        && let Ok(Some(tag)) = reader.read_tag()
    {
        let text = matches!(tag, 4 | 5) || (tag > ARM_COMPATIBILITY && tag % 2 == 1);
        if text {
            if reader.read_string().is_err() {
                break;
            }
            continue;
        }
        let Ok(value) = reader.read_integer() else { break };
        numbers.push((tag, value));
        if tag == ARM_COMPATIBILITY && reader.read_string().is_err() {
            break;
        }
    }
    numbers
}

/// The architecture string of RISC-V.
pub(super) fn riscv_arch<H: FileHeader>(endian: H::Endian, data: &[u8]) -> Option<String> {
    let mut reader = of_file::<H>(endian, data, b"riscv")?;
    for _ in 0..MOST {
        let tag = reader.read_tag().ok()??;
        // Odd tags have a text, even ones a number.
        if tag % 2 == 0 {
            reader.read_integer().ok()?;
            continue;
        }
        let text = reader.read_string().ok()?;
        if tag == RISCV_ARCH {
            return std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST).map(str::to_owned);
        }
    }
    None
}

/// The attributes that one vendor's part has for the whole file.
fn of_file<'data, H: FileHeader>(
    endian: H::Endian,
    data: &'data [u8],
    vendor: &[u8],
) -> Option<AttributeReader<'data>> {
    let section = AttributesSection::<H>::new(endian, data).ok()?;
    let subsections = section.subsections().ok()?.map_while(Result::ok);
    let part = subsections.take(MOST).find(|part| part.vendor() == vendor)?;
    let whole = part.subsubsections().map_while(Result::ok).take(MOST);
    whole.into_iter().find(|part| part.tag() == object::elf::Tag_File).map(|part| part.attributes())
}
