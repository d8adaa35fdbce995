//! Program files: who has read less of one may know less, and never anything else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::elf::{Binary, ElfError, Interpreter, Program, further};
use lighterman::core::extract::Extract;
use lighterman_fuzz::{Sizes, heap};

fuzz_target!(|data: &[u8]| {
    let whole = heap::within(64 * 1024 + 64 * data.len(), || Program::parse(data));
    if let Ok(Program::Elf(binary)) = &whole {
        tell(binary);
    }
    let mut sizes = Sizes::of(data);
    for length in [52, 64, 256, 1024, 1 + sizes.below(data.len().max(1))] {
        if length >= data.len() {
            continue;
        }
        let prefix = &data[..length];
        let mut part = Extract::new(data.len() as u64, prefix.to_vec());
        compare(&Program::read(&part), &whole);
        // Random windows, then those that are worth having.
        for _ in 0..3 {
            let at = sizes.below(data.len());
            let end = data.len().min(at + 1 + sizes.below(600));
            part.add(at as u64, data[at..end].to_vec());
            compare(&Program::read(&part), &whole);
        }
        let mut told = Extract::new(data.len() as u64, prefix.to_vec());
        for range in worth_having(prefix, data.len()) {
            told.add(range.start, data[range.start as usize..range.end as usize].to_vec());
            compare(&Program::read(&told), &whole);
        }
    }
});

/// The further parts of a file, which keep to their promises.
fn worth_having(prefix: &[u8], size: usize) -> Vec<std::ops::Range<u64>> {
    let ranges = further(prefix, size as u64);
    assert!(ranges.len() <= 4 && ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= 512 * 1024);
    assert!(ranges.iter().all(|range| range.start >= prefix.len() as u64 && range.start < range.end), "{ranges:?}");
    assert!(ranges.iter().all(|range| range.end <= size as u64), "{ranges:?} of {size}");
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
    // A lie about the size asks for what is there or not, but for no more.
    let _ = further(prefix, u64::MAX);
    ranges
}

/// What a part says, held against the whole.
fn compare(part: &Result<Program, ElfError>, whole: &Result<Program, ElfError>) {
    match (part, whole) {
        // Not enough to tell.
        (Err(ElfError::Truncated { .. }), _) | (Ok(Program::Unknown), _) => {}
        (Err(part), Err(whole)) => assert_eq!(part, whole),
        (Ok(Program::Script(part)), Ok(Program::Script(whole))) => {
            // The last character may have been cut.
            assert!(whole.starts_with(part.trim_end_matches(['\u{fffd}', ' ', '\t'])), "{part:?} and {whole:?}");
        }
        (Ok(Program::Elf(part)), Ok(Program::Elf(whole))) => compare_binaries(part, whole),
        (part, whole) => panic!("{part:?} and {whole:?}"),
    }
}

fn compare_binaries(part: &Binary, whole: &Binary) {
    let header = |binary: &Binary| {
        let Binary { machine, class, endianness, os_abi, flags, object_type, entry, .. } = *binary;
        (machine, class, endianness, os_abi, flags, object_type, entry)
    };
    assert_eq!(header(part), header(whole));
    assert!(part.interpreter == Interpreter::BeyondPrefix || part.interpreter == whole.interpreter);
    known(&part.loads, &whole.loads, "segments");
    // Of several notes the first that was kept counts.
    if part.x86_note == whole.x86_note {
        assert_eq!(part.x86_level, whole.x86_level);
    }
    known(&part.arm, &whole.arm, "attributes of ARM");
    known(&part.riscv_arch, &whole.riscv_arch, "attributes of RISC-V");
    // The same with descriptions of a build.
    if let (Some(part), Some(whole)) = (&part.go, &whole.go)
        && part.at == whole.at
    {
        known(&part.version, &whole.version, "Go's version");
        known(&part.settings, &whole.settings, "Go's settings");
    }
}

fn known<T: PartialEq + std::fmt::Debug>(part: &Option<T>, whole: &Option<T>, what: &str) {
    assert!(part.is_none() || part == whole, "{what}: {part:?} of a part, {whole:?} of the whole");
}

/// Everything that is derived from it.
fn tell(binary: &Binary) {
    assert_eq!(
        binary.platform().is_some(),
        binary.platform().is_some_and(|platform| !platform.architecture.is_empty())
    );
    assert!(!binary.to_string().is_empty() && !binary.machine_text().is_empty());
    assert!(binary.x86_level.is_none_or(|level| (1..=4).contains(&level)));
    for page in [4096, 16384, 65536] {
        assert_eq!(binary.fits_page_size(page), Some(binary.misfit(page).is_none()).filter(|_| binary.loads.is_some()));
    }
    let _ = (binary.arm_abi(), binary.mips_abi(), binary.riscv_abi(), binary.loongarch_world(), binary.no_program());
    if let Interpreter::Path(path) = &binary.interpreter {
        assert!(!path.contains('\0') && path.len() < 3 * 4096);
    }
}
