//! Which Windows builds run which containers (containerd's os.version rule).

/// First server release with a stable container interface: from here on a host also
/// runs the images of the previous long-term release.
const LTSC_2022: u16 = 20348;
const LTSC_2025: u16 = 26100;

/// Whether a host of version `host` takes an image of version `image`. An absent version
/// on either side accepts everything.
pub(super) fn version_accepted(host: &str, image: &str) -> bool {
    let Some(host) = version(host) else { return true };
    if image.is_empty() {
        return true;
    }
    let image = version(image).unwrap_or_default();
    if (host.0, host.1) != (image.0, image.1) {
        return false;
    }
    if host.2 < LTSC_2022 {
        return host.2 == image.2;
    }
    let oldest = if host.2 > LTSC_2025 { LTSC_2025 } else { LTSC_2022 };
    (oldest..=host.2).contains(&image.2)
}

/// Major, minor and build of `10.0.20348.1234`.
fn version(text: &str) -> Option<(u8, u8, u16)> {
    let mut parts = text.split('.');
    let version = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (version != (0, 0, 0)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::version_accepted;

    #[test]
    fn follows_the_release_rules() {
        let cases = [
            ("", "10.0.17763", true),
            ("10.0.17763", "", true),
            ("10.0.17763", "10.0.17763.1", true),
            ("10.0.17763", "10.0.20348", false),
            ("10.0.20348", "10.0.17763", false),
            ("10.0.22621", "10.0.20348.5", true),
            ("10.0.26100", "10.0.20348", true),
            ("10.0.26200", "10.0.20348", false),
            ("10.0.26200", "10.0.26100", true),
            ("10.0.20348", "11.0.20348", false),
            ("10.0.20348", "nonsense", false),
        ];
        for (host, image, accepted) in cases {
            assert_eq!(version_accepted(host, image), accepted, "host {host:?}, image {image:?}");
        }
    }
}
