//! Names of a layer's entries, and where they lead: pure.
//!
//! containerd cleans a name by its letters alone, so that `a/../b` is `b` whatever `a` is,
//! and then follows symbolic links in what stands before the last slash, as if the layer's
//! root were the file system's. It does both with rules of its own, not the kernel's, and
//! layers in the wild depend on where they lead. So the rules are kept here, to the letter.
//!
//! Paths are bytes. A clean path has no leading, trailing or double slash and neither `.`
//! nor `..`; the empty one is the root.

/// Symbolic links followed for one path, at the most; containerd gives up there.
const LINKS: usize = 255;

/// Why a path leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResolveError<E> {
    /// Too many symbolic links, most likely a circle.
    TooManyLinks,
    /// A link could not be read.
    Look(E),
}

/// Appends `name` to the clean path in `path`, and cleans the whole. `..` ends at the root.
pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
}

/// `base` and `name` in one, clean.
pub(super) fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(base.len() + 1 + name.len());
    push(&mut path, base);
    push(&mut path, name);
    path
}

/// Takes a path apart at its last slash; what stands before may be empty.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Whether `path` is `above` or lies below it; both are clean.
pub(super) fn is_within(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| above.is_empty() || rest.is_empty() || rest[0] == b'/')
}

/// The clean path that `path`, which need not be clean, leads to when the symbolic links in
/// it are followed within the root. What is not there is taken as it is spelled. `target`
/// tells where the link at a clean path points, or `None` where there is no link.
///
/// Each pass replaces every link once, from left to right, and passes go on until there is
/// none left. Dots after a link are taken by letter, not by where the link leads, except in
/// a target that is absolute or stands first: exactly what containerd makes of them.
pub(super) fn resolve<E>(
    path: &[u8],
    mut target: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<u8>, ResolveError<E>> {
    let mut path = path.to_vec();
    let mut links = 0;
    loop {
        let before = links;
        let mut current = Vec::new();
        for (index, component) in path.split(|byte| *byte == b'/').enumerate() {
            if component.is_empty() {
                continue;
            }
            if links > LINKS {
                return Err(ResolveError::TooManyLinks);
            }
            let candidate = join(&current, component);
            let link = if candidate.is_empty() { None } else { target(&candidate).map_err(ResolveError::Look)? };
            let Some(link) = link else {
                current = candidate;
                continue;
            };
            links += 1;
            let is_kept = index == 0 || link.starts_with(b"/");
            current = if is_kept { link } else { join(&current, &link) };
        }
        if links == before {
            return Ok(current);
        }
        path = current;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    fn text(path: &[u8]) -> String {
        String::from_utf8_lossy(path).into_owned()
    }

    #[test]
    fn names_are_cleaned_by_letter_and_end_at_the_root() {
        let cases = [
            ("", ""),
            (".", ""),
            ("/", ""),
            ("..", ""),
            ("../..", ""),
            ("./", ""),
            ("a", "a"),
            ("./a/", "a"),
            ("/a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("a/../../b", "b"),
            ("../../a/b", "a/b"),
            ("a/b/..", "a"),
            ("a/..", ""),
            ("...", "..."),
            ("a/.../b", "a/.../b"),
        ];
        for (name, expected) in cases {
            assert_eq!(text(&join(b"", name.as_bytes())), expected, "{name}");
        }
        assert_eq!(text(&join(b"a/b", b"../../../c")), "c");
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        for (path, above, expected) in
            [("a/b", "a", true), ("a", "a", true), ("ab", "a", false), ("x", "", true), ("a", "a/b", false)]
        {
            assert_eq!(is_within(path.as_bytes(), above.as_bytes()), expected, "{path} in {above}");
        }
    }

    /// Resolves within a tree that has nothing but these links, each below real directories.
    fn led(links: &[(&str, &str)], path: &str) -> Result<String, ResolveError<Infallible>> {
        let links: BTreeMap<&[u8], &[u8]> = links.iter().map(|(at, to)| (at.as_bytes(), to.as_bytes())).collect();
        resolve(path.as_bytes(), |at| Ok(links.get(at).map(|to| to.to_vec()))).map(|path| text(&path))
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let links = &[
            ("abs", "/usr/abs"),
            ("lib", "usr/lib"),
            ("usr/lib", "../real"),
            ("out", "../../../etc"),
            ("root", "/"),
            ("dangling", "no/where"),
            ("twice", "lib"),
        ];
        let cases = [
            ("", ""),
            ("plain/dir", "plain/dir"),
            ("abs", "usr/abs"),
            ("abs/x", "usr/abs/x"),
            ("lib/x/y", "real/x/y"),
            ("usr/lib", "real"),
            ("out/passwd", "etc/passwd"),
            ("root/a", "a"),
            ("root", ""),
            ("dangling/x", "no/where/x"),
            ("twice/x", "real/x"),
            ("/lib/../x", "usr/x"),
            ("a/../lib/", "real"),
            ("../../lib/.", "usr/real"),
        ];
        for (path, expected) in cases {
            assert_eq!(led(links, path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn dots_after_a_link_go_by_letter_where_containerd_takes_them_so() {
        // The kernel would go to d/e first, and say d/c and d/c/x.
        let links = &[("b", "d/e"), ("a", "b/../c"), ("x/b", "/d/e"), ("x/a", "b/../c")];
        assert_eq!(led(links, "a").as_deref(), Ok("d/c"), "the first target is walked in the next pass");
        assert_eq!(led(links, "a/x").as_deref(), Ok("c/x"), "but something after it cleans it first");
        assert_eq!(led(links, "x/a").as_deref(), Ok("x/c"), "as does something before it");
    }

    #[test]
    fn circles_end() {
        assert_eq!(led(&[("a", "b"), ("b", "a")], "a/x"), Err(ResolveError::TooManyLinks));
        assert_eq!(led(&[("a", "a/a")], "a"), Err(ResolveError::TooManyLinks));
        let chain: Vec<(String, String)> = (0..256).map(|n| (format!("l{n}"), format!("l{}", n + 1))).collect();
        let links: Vec<(&str, &str)> = chain.iter().map(|(at, to)| (at.as_str(), to.as_str())).collect();
        assert_eq!(led(&links[1..], "l1"), Ok("l256".to_owned()), "255 links");
        assert_eq!(led(&links, "l0"), Err(ResolveError::TooManyLinks), "256 links");
    }

    proptest::proptest! {
        #[test]
        fn what_comes_out_is_clean_and_has_no_link(
            links in proptest::collection::btree_map("[ab](/[ab]){0,2}", "/?([ab.]|\\.\\.)(/([ab]|\\.\\.)){0,3}", 0..4),
            path in "/?([ab.]|\\.\\.)(/([ab.]|\\.\\.)){0,4}/?",
        ) {
            let target = |at: &[u8]| Ok::<_, Infallible>(links.get(&text(at)).map(|to| to.clone().into_bytes()));
            if let Ok(found) = resolve(path.as_bytes(), target) {
                proptest::prop_assert_eq!(&join(b"", &found), &found);
                proptest::prop_assert!(!links.contains_key(&text(&found)));
            }
        }
    }
}
