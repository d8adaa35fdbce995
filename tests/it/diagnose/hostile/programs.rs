//! Programs that lie about themselves.

use super::survive;
use crate::diagnose::exec;
use crate::support::build;
use crate::support::debian::{AMD64, ARMHF, PORTS};
use crate::support::fixture::{Flavour, Image, Manifest, Tree, noise, platform};

/// An index with an image of each program.
fn index(programs: &[(String, Vec<u8>)]) -> Image {
    let manifests: Vec<Manifest> = programs
        .iter()
        .map(|(_, program)| {
            let layer = Tree::new().file("app", 0o755, program).layer();
            Manifest::running(Flavour::Oci, &platform("amd64", ""), &[layer], &exec("/app"))
        })
        .collect();
    Image::multi(Flavour::Oci, &manifests)
}

/// Puts bytes over others, as far as the file goes.
fn over(program: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut program = program.to_vec();
    for (place, byte) in program.iter_mut().skip(offset).zip(bytes) {
        *place = *byte;
    }
    program
}

#[test]
fn programs_that_are_cut_off_are_called_damaged_where_the_header_is_not_whole() {
    let program = AMD64.hello();
    let lengths = [4, 5, 6, 7, 16, 18, 20, 32, 63, 64, 65, 100, 120, 400, 792, 793, 4095, 4096, 4097, 20000];
    let programs: Vec<_> = lengths.iter().map(|length| (length.to_string(), program[..*length].to_vec())).collect();
    let end = survive("cut off", &index(&programs));
    for (entry, length) in lengths.iter().enumerate() {
        let errors = end.errors(Some(entry));
        assert_eq!(errors.contains(&"ELF-005"), *length < 64, "{length}: {errors:?} in {:#}", end.document);
    }
}

#[test]
fn headers_with_absurd_numbers_are_survived() {
    let absurd = [[0xff; 8], [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0; 8], [1, 0, 0, 0, 0, 0, 0, 0x80]];
    for port in PORTS {
        let program = port.hello();
        let wide = program[4] == 2;
        // Where a header has its offsets and counts, then where the first program headers begin.
        let (header, first, size) = if wide { (16..64, 64, 56) } else { (16..52, 52, 32) };
        let places = header.step_by(2).chain((first..first + 6 * size).step_by(4));
        let mut programs = Vec::new();
        for (index, place) in places.enumerate() {
            let width = if index % 2 == 0 { 4 } else { 8 };
            let bytes = &absurd[index % absurd.len()][..width];
            programs.push((format!("{} at {place}", port.name), over(&program, place, bytes)));
        }
        survive(port.name, &index(&programs));
    }
}

#[test]
fn notes_attributes_and_build_information_full_of_noise_are_survived() {
    let go = build::go("arm", "GOARM=6");
    let sources = [AMD64.hello(), ARMHF.hello(), build::x86_64("v3").to_vec(), go.to_vec()];
    for (number, program) in sources.iter().enumerate() {
        let info = program.windows(14).position(|bytes| bytes == b"\xff Go buildinf:").unwrap_or(0x300);
        let mut programs = Vec::new();
        for round in 0..24u64 {
            let seed = 1 + round * 7919 + number as u64;
            let bytes = noise(seed, 64);
            // The header stays what it is, so that what follows is believed.
            let place = 64 + usize::from(bytes[0]) * 4;
            let mut changed = over(program, place, &bytes[..1 + usize::from(bytes[1]) % 48]);
            let tail = changed.len() - 1 - (usize::from(bytes[2]) * 8).min(changed.len() / 2);
            changed = over(&changed, tail, &bytes);
            changed = over(&changed, info + 14 + usize::from(bytes[3]) % 32, &[0xff; 10]);
            programs.push((format!("{number} round {round}"), changed));
        }
        survive(&format!("program {number}"), &index(&programs));
    }
}

#[test]
fn a_program_that_is_nothing_but_its_magic_number_again_and_again_is_damaged() {
    let magic = b"\x7fELF".repeat(100_000);
    let end = survive("magic", &index(&[("magic".into(), magic)]));
    assert_eq!(end.errors(Some(0)), ["ELF-005"], "{:#}", end.document);
}

#[test]
fn an_interpreter_that_is_longer_than_any_path_is_no_path() {
    let mut program = AMD64.hello();
    let place = program.windows(7).position(|bytes| bytes == b"/lib64/").expect("a dynamic program");
    // PT_INTERP is the second program header: all of the file is the path.
    let length = u64::try_from(program.len() - place).expect("a small program");
    program = over(&program, 64 + 56 + 32, &length.to_le_bytes());
    program[place..].fill(b'/');
    let end = survive("interpreter", &index(&[("interpreter".into(), program)]));
    assert!(!end.document.is_null(), "{}", end.stderr);
}
