//! Where entries go whose parents have no entry, or are links.

use std::path::PathBuf;

use super::support::{dir, file, grown, link, symlink};
use crate::unpack::tree::{Fate, Implied};

#[test]
fn implied_parents_are_plain_and_told_outermost_first() {
    let tree = grown(&[
        file("a/b/c/f", "x"),
        file("a/b.c/f", "x"),
        dir("z"),
        file("z/y/f", ""),
        dir("a/b").mode(0o700),
        file("a/b/d/f", ""),
    ]);
    let implied = |path: &str, fate, is_nested| Implied { path: PathBuf::from(path), fate, is_nested };
    let expected = [
        implied("a", Fate::Kept, false),
        implied("a/b", Fate::Explicit, true),
        implied("a/b.c", Fate::Kept, true),
        implied("a/b/c", Fate::Kept, true),
        implied("a/b/d", Fate::Kept, false),
        implied("z/y", Fate::Kept, false),
    ];
    assert_eq!(tree.grown.implied, expected);
    assert_eq!(tree.mode("a"), 0o755);
    assert_eq!(tree.mode("a/b"), 0o700);
}

#[test]
fn parents_that_are_links_lead_to_where_containerd_goes() {
    let tree = grown(&[
        dir("usr"),
        symlink("lib", "usr/lib"),
        file("lib/a", "1"),
        file("lib/sub/b", "2"),
        file("lib/a2", "3"),
        symlink("abs", "/usr"),
        file("abs/c", "4"),
        symlink("out", "../../../etc"),
        file("out/passwd", "5"),
        dir("lib/dir").times(3, 4),
        link("hard", "lib/a"),
    ]);
    let expected = [
        "abs",
        "etc",
        "etc/passwd",
        "hard",
        "lib",
        "out",
        "usr",
        "usr/c",
        "usr/lib",
        "usr/lib/a",
        "usr/lib/a2",
        "usr/lib/dir",
        "usr/lib/sub",
        "usr/lib/sub/b",
    ];
    assert_eq!(tree.names(), expected);
    assert_eq!(tree.times("usr/lib/dir"), (3, 4));
    let implied: Vec<_> = tree.grown.implied.iter().map(|implied| implied.path.to_str().expect("text")).collect();
    assert_eq!(implied, ["etc", "usr/lib", "usr/lib/sub"]);
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("victim"), "untouched").expect("writes");
    let to = outside.path().to_str().expect("text");
    let victim = format!("{to}/victim");
    let tree = grown(&[
        symlink("abs", to),
        file("abs/victim", "inside"),
        symlink("up", "../../../../../../../.."),
        file(&format!("up{victim}"), "inside, too"),
        symlink("file", &victim),
        file("file", "replaces the link"),
        symlink("other", &victim),
        link("hard", "other"),
    ]);
    assert_eq!(std::fs::read_to_string(outside.path().join("victim")).expect("reads"), "untouched");
    assert_eq!(tree.read(victim.trim_start_matches('/')), "inside, too", "both are one path within the tree");
    assert_eq!(tree.read("file"), "replaces the link");
    assert_eq!(tree.target("hard"), victim, "a link to a symbolic link is one more of it");
}
