//! SECURITY.md names tests; this looks whether there are such.

use std::path::Path;

use crate::support::files_below;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `it:a::b` and `lib:a::b` in backticks, some of which list several names in braces.
fn named() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).expect("SECURITY.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|name| name.strip_prefix("it:").or_else(|| name.strip_prefix("lib:")));
    // Those that explain the notation.
    named.filter(|name| *name != "a::b").map(str::to_owned).collect()
}

/// The lines of the program and its tests that begin a function or a module, and every file as one.
fn known() -> Vec<String> {
    let mut known = Vec::new();
    for folder in ["src", "tests/it"].map(|folder| Path::new(ROOT).join(folder)) {
        for file in files_below(&folder) {
            known.push(format!("mod {};", file.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default()));
            let text = std::fs::read_to_string(folder.join(&file)).expect("a source file");
            let items = text.lines().filter(|line| line.contains("fn ") || line.contains("mod "));
            known.extend(items.map(str::to_owned));
        }
    }
    known
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let (named, known) = (named(), known());
    assert!(named.len() > 80, "the notation has changed: {named:?}");
    let is_there = |name: &str| {
        let last = name.rsplit("::").next().unwrap_or(name);
        let (function, module) = (format!("fn {last}("), format!("mod {last}"));
        known.iter().any(|line| line.contains(&function) || line.contains(&module))
    };
    let lost: Vec<&String> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(lost.is_empty(), "SECURITY.md names what is not there: {lost:#?}");
}
