//! The README's list of findings is made of the catalogue, so that it cannot drift.

use std::path::Path;

use lighterman::diagnose::finding::Id;

const BEGIN: &str = "<!-- findings: written by LIGHTERMAN_WRITE=1 cargo test --test it findings:: -->\n";
const END: &str = "<!-- end of findings -->";

fn table() -> String {
    let row = |id: &Id| format!("| {} | {} |\n", id.code(), id.title().trim_end_matches('.'));
    let rows: String = Id::ALL.iter().map(row).collect();
    format!("\n| id | what it says |\n|---|---|\n{rows}\n")
}

#[test]
fn the_readme_lists_every_finding() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let (before, rest) = readme.split_once(BEGIN).expect("the README has the list");
    let (_, after) = rest.split_once(END).expect("the list ends");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("LIGHTERMAN_WRITE").is_some() {
        std::fs::write(&path, expected).expect("a writable source folder");
    } else {
        assert!(readme == expected, "write it anew: LIGHTERMAN_WRITE=1 cargo test --test it findings::");
    }
}
