//! Versions of containerd and kubelet, as their own programs and packages write them.

use std::fmt;

/// Major and minor number, which is what features come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Version {
    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Finds the first `N.N` in what a program or a package says: `v1.29.3`, `1.6.20~ds1-1`,
    /// `containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7`.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.split(|character: char| character.is_whitespace() || character == ':').find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.strip_prefix('v').unwrap_or(word).split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|character: char| !character.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self { major, minor: minor[..digits].parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version of a package in dpkg's list of what is installed.
pub(super) fn packaged(status: &str, names: &[&str]) -> Option<Version> {
    let stanzas = status.split("\n\n").filter(|stanza| stanza.contains("\nStatus: install ok installed"));
    let mut found = stanzas.filter_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let package = field("Package: ")?;
        names.contains(&package).then(|| Version::find(field("Version: ")?))?
    });
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_wherever_they_stand() {
        let cases = [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1", Some((1, 6))),
            ("containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7", Some((2, 1))),
            ("Kubernetes v1.29.3", Some((1, 29))),
            ("1:1.7.24~ds1-6", Some((1, 7))),
            ("2.3-beta", Some((2, 3))),
            ("nothing here", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Version::find(text), expected.map(|(major, minor)| Version::new(major, minor)), "{text}");
        }
        assert!(Version::new(1, 27) > Version::new(1, 6));
    }

    #[test]
    fn only_installed_packages_count() {
        let status = "Package: containerd\nStatus: deinstall ok config-files\nVersion: 1.4.1\n\n\
                      Package: containerd.io\nStatus: install ok installed\nVersion: 1.7.2-1\n";
        assert_eq!(packaged(status, &["containerd", "containerd.io"]), Some(Version::new(1, 7)));
        assert_eq!(packaged(status, &["kubelet"]), None);
    }
}
