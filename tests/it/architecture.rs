//! The house's plan, kept by reading its source: which room may use which, and how long
//! a file may be. `use` edges are found by text, so a path in full counts as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room may use itself and every room of a lower floor, and
/// never one of its own floor: `registry` and `store` do not know each other, nor does one
/// service another.
const FLOORS: [&[&str]; 15] = [
    &["core"],
    &["accept", "cpu", "grpc"],
    &["host", "loopback", "registry", "store"],
    &["fetch"],
    &["resolve"],
    &["unpack"],
    &["diagnose"],
    &["publish", "pull"],
    &["pulls"],
    &["service", "telemetry"],
    &["config"],
    &["node"],
    &["app", "demo"],
    &["cli"],
    &["main", "lib"],
];

/// Lines of code of one file, without comments, blank lines and its tests.
const LONGEST_FILE: usize = 400;

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Every source file with the room that it belongs to.
fn sources() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).expect("a readable source folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&src).expect("below src");
                let first = relative.iter().next().expect("a file name").to_string_lossy();
                found.push((first.trim_end_matches(".rs").to_owned(), path));
            }
        }
    }
    found.sort();
    found
}

/// Code without comments; strings stay, which a path inside one would have to answer for.
fn code_lines(source: &str) -> Vec<&str> {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).filter(|l| !l.trim().is_empty()).collect()
}

/// The rooms that a source text names by `crate::ROOM` or `lighterman::ROOM`, alone or in braces.
fn rooms_used(source: &str) -> BTreeSet<String> {
    let code = code_lines(source).join("\n");
    let mut rooms = BTreeSet::new();
    for root in ["crate::", "lighterman::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(first_names(group)),
                None => rooms.extend(name(rest)),
            }
        }
    }
    rooms
}

/// The leading identifier, if it is a module's: lower case.
fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect();
    let macro_or_type = text[name.len()..].starts_with(['!', '(']) || name.is_empty();
    (!macro_or_type).then_some(name)
}

/// The first names of `a::b, c::{d, e}, f}…`, up to the closing brace.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut names = Vec::new();
    let mut start = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                names.extend(name(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// What is wrong with the edges of one file.
fn wrong_edges(room: &str, source: &str) -> Vec<String> {
    let Some(own) = floor(room) else {
        return vec![format!("the room {room} has no floor: give it one in tests/it/architecture.rs")];
    };
    let wrong = |used: &String| {
        let allowed = used == room || floor(used).is_some_and(|other| other < own);
        (!allowed).then(|| format!("{room} uses {used}"))
    };
    rooms_used(source).iter().filter_map(wrong).collect()
}

/// Lines of code before the file's own tests.
fn length(source: &str) -> usize {
    let own = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code_lines(own).len()
}

#[test]
fn rooms_only_use_rooms_below_them() {
    let mut wrong = Vec::new();
    let mut edges = 0;
    for (room, path) in sources() {
        let source = std::fs::read_to_string(&path).expect("readable source");
        edges += rooms_used(&source).len();
        wrong.extend(wrong_edges(&room, &source).into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(wrong.is_empty(), "imports that point the wrong way:\n{}", wrong.join("\n"));
    assert!(edges > 10, "only {edges} edges were found: the reader is broken");
}

#[test]
fn files_are_short_enough_to_read() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, path)| !path.ends_with("tests.rs"))
        .map(|(_, path)| (length(&std::fs::read_to_string(&path).expect("readable source")), path))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, path)| format!("{}: {lines} lines of code", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE} lines of code:\n{}", long.join("\n"));
}

#[test]
fn the_core_knows_no_runtime_no_files_and_no_network() {
    let outside = [
        "tokio::",
        "reqwest::",
        "std::fs",
        "std::process",
        "Instant",
        "SystemTime",
        "TcpStream",
        "UdpSocket",
        "std::env",
    ];
    for (_, path) in sources().into_iter().filter(|(room, _)| room == "core") {
        let source = std::fs::read_to_string(&path).expect("readable source");
        let own = source.split("#[cfg(test)]").next().unwrap_or_default();
        let own = if path.ends_with("tests.rs") { "" } else { own };
        for word in outside {
            assert!(!code_lines(own).join("\n").contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_reader_of_edges_sees_every_way_to_write_one() {
    let cases = [
        ("use crate::store::Lease;", &["store"][..]),
        ("use crate::{core::digest, fetch::{self, Job}, pull};", &["core", "fetch", "pull"]),
        ("let x = crate::registry::open(); // crate::demo::x", &["registry"]),
        ("use lighterman::pull::Puller;", &["pull"]),
        ("//! [`crate::service`] is mentioned only", &[]),
        ("my_crate::thing(); crate::Error::new(); crate::say!()", &[]),
    ];
    for (source, expected) in cases {
        assert_eq!(rooms_used(source).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{source}");
    }
    assert_eq!(wrong_edges("registry", "use crate::{core::x, store::Lease};"), ["registry uses store"]);
    assert_eq!(wrong_edges("core", "use crate::host::LocalHost;"), ["core uses host"]);
    assert_eq!(wrong_edges("pull", "use crate::{core, host, store, fetch, unpack};"), Vec::<String>::new());
    assert_eq!(wrong_edges("attic", "").len(), 1);
}

#[test]
fn the_counter_of_lines_leaves_out_comments_blanks_and_tests() {
    assert_eq!(length("//! doc\n\nfn a() {}\n/// doc\nfn b() {\n}\n\n#[cfg(test)]\nmod tests {\n    x\n}\n"), 3);
}
