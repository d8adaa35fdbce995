//! The same name in several places: mirrors beside the registry, and this node's own store.
//!
//! Whoever asks those places tells what they said; nothing is asked here.

use super::shown;
use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::shell_word;
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};

/// What one place has under a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The registry or mirror, as `hosts.toml` names it.
    pub host: String,
    /// The root document there.
    pub root: Digest,
    /// That is an index, and no lone manifest.
    pub is_index: bool,
    /// The platforms that it offers, attestations left out; of a lone manifest its config's.
    pub platforms: Vec<Platform>,
}

/// PLAT-015 and PLAT-020: mirrors that have other images than the registry, or fewer of them.
#[must_use]
pub fn compare(reference: &Reference, registry: &Place, mirrors: &[Place]) -> Vec<Finding> {
    mirrors
        .iter()
        .filter(|mirror| mirror.root != registry.root)
        .map(|mirror| differs(reference, registry, mirror))
        .collect()
}

fn differs(reference: &Reference, registry: &Place, mirror: &Place) -> Finding {
    let has = |platform: &&Platform| !mirror.platforms.iter().any(|other| other.same_as(platform));
    let missing: Vec<String> = registry.platforms.iter().filter(has).map(shown).collect();
    let image = reference.familiar();
    let finding = if missing.is_empty() {
        let message =
            format!("{image} is another image at {} than at {}: the tag has moved", mirror.host, registry.host);
        let pinned = reference.with_digest(registry.root.clone()).familiar();
        Finding::new(Id::TagRace, Severity::Note, message).mended_by(
            Remedy::new("name the digest, so that every node gets the same")
                .command(format!("lighterman pull {pinned}")),
        )
    } else {
        let message = if registry.is_index && !mirror.is_index {
            let one = mirror.platforms.iter().map(shown).next().unwrap_or_else(|| "one platform".into());
            format!(
                "{} has {image} for {one} alone, without the index that {} has: it lacks {}",
                mirror.host,
                registry.host,
                missing.join(", ")
            )
        } else {
            format!("at {} {image} lacks {}, which {} has", mirror.host, missing.join(", "), registry.host)
        };
        let accept = "the mirror has to ask for indexes (Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json) and to keep all that they list";
        Finding::new(Id::MirrorStripped, Severity::Warning, message).mended_by(Remedy::new(accept).command(format!(
            "skopeo copy --all docker://{} docker://{}/{}",
            reference,
            mirror.host,
            at_mirror(reference)
        )))
    };
    finding.shown_by(says(registry)).shown_by(says(mirror))
}

/// The repository and tag, which a mirror keeps.
fn at_mirror(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.repository()),
        None => format!("{}:{}", reference.repository(), reference.target()),
    }
}

fn says(place: &Place) -> Evidence {
    let platforms: Vec<String> = place.platforms.iter().map(shown).collect();
    let what = format!("{} has {}", place.host, platforms.join(", "));
    Evidence { what, digest: Some(place.root.clone()), verified: true, ..Evidence::default() }
}

/// PLAT-014: the local store has the name for another platform than would be taken now. Whoever
/// starts it without pulling gets that one.
#[must_use]
pub fn cached(reference: &Reference, cached: &Platform, taken: &Platform) -> Option<Finding> {
    // Configs often leave the variant out.
    let unsaid = cached.variant.is_empty() && cached.normalized().architecture == taken.normalized().architecture;
    if unsaid || cached.same_as(taken) {
        return None;
    }
    let (image, have, wanted) = (reference.familiar(), shown(cached), taken.to_string());
    let message = format!(
        "the local store has {image} for {have}, and {} would be pulled: what starts it without pulling gets {have}",
        shown(taken)
    );
    let remedy = Remedy::new("pull it again, or remove the local one")
        .command(format!("lighterman pull {image} --platform {}", shell_word(&wanted)))
        .command(format!("ctr -n k8s.io images rm {reference}"));
    Some(Finding::new(Id::CachedOtherArch, Severity::Warning, message).mended_by(remedy))
}

/// PLAT-018: what a registry answered is in the format of Docker before 1.10.
#[must_use]
pub fn schema1(reference: &Reference) -> Finding {
    let image = reference.familiar();
    let message = format!(
        "{image} is in the format of Docker schema 1, which names no platform reliably; containerd from 2.1 and others refuse it"
    );
    let remedy = Remedy::new("push it again with a current tool")
        .command(format!("skopeo copy --format v2s2 docker://{reference} docker://{reference}"));
    Finding::new(Id::Schema1, Severity::Error, message).mended_by(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::samples::platform;

    fn place(host: &str, root: &str, platforms: &[&str]) -> Place {
        let platforms = platforms.iter().map(|text| platform(text)).collect();
        Place { host: host.into(), root: Digest::of(root.as_bytes()), is_index: true, platforms }
    }

    fn lone(host: &str, root: &str, platform: &str) -> Place {
        Place { is_index: false, ..place(host, root, &[platform]) }
    }

    fn reference() -> Reference {
        "registry.example/org/app:1".parse().expect("a reference")
    }

    #[test]
    fn mirrors_are_held_against_the_registry() {
        let registry = place("registry.example", "new", &["amd64", "arm64", "arm/v7"]);
        let rows = [
            ("same", place("a.example", "new", &["amd64"]), None),
            (
                "older",
                place("b.example", "old", &["arm64/v8", "amd64", "arm"]),
                Some((Id::TagRace, "the tag has moved")),
            ),
            (
                "stripped",
                place("c.example", "one", &["amd64"]),
                Some((Id::MirrorStripped, "lacks linux/arm64, linux/arm/v7")),
            ),
            (
                "flattened",
                lone("e.example", "two", "arm64"),
                Some((
                    Id::MirrorStripped,
                    "for linux/arm64 alone, without the index that registry.example has: it lacks linux/amd64, linux/arm/v7",
                )),
            ),
            ("more", place("d.example", "two", &["amd64", "arm64", "arm/v7", "s390x"]), Some((Id::TagRace, "tag"))),
        ];
        for (name, mirror, expected) in rows {
            let findings = compare(&reference(), &registry, &[mirror]);
            let found = findings.first().map(|finding| (finding.id, finding.message.as_str()));
            assert_eq!(found.map(|(id, _)| id), expected.map(|(id, _)| id), "{name}");
            if let (Some((_, message)), Some((_, part))) = (found, expected) {
                assert!(message.contains(part), "{name}: {message}");
                assert_eq!(findings[0].evidence.len(), 2);
                assert_eq!(findings[0].remedies.len(), 1);
            }
        }
    }

    #[test]
    fn a_lone_manifest_is_compared_by_its_config() {
        let registry = lone("registry.example", "new", "amd64");
        let found = |mirror: Place| compare(&reference(), &registry, &[mirror]).remove(0).id;
        assert_eq!(found(lone("a.example", "old", "amd64")), Id::TagRace);
        assert_eq!(found(lone("a.example", "old", "arm64")), Id::MirrorStripped);
        assert_eq!(found(place("a.example", "old", &["amd64", "arm64"])), Id::TagRace);
    }

    #[test]
    fn another_platform_in_the_store_is_named() {
        let found = |have: &str, want: &str| cached(&reference(), &platform(have), &platform(want));
        assert_eq!(found("arm64/v8", "arm64"), None);
        assert_eq!(found("arm", "arm/v6"), None);
        let finding = found("amd64", "arm64").expect("a finding");
        assert_eq!((finding.id, finding.severity), (Id::CachedOtherArch, Severity::Warning));
        assert_eq!(finding.remedies[0].commands.len(), 2);
    }

    #[test]
    fn schema1_is_an_error() {
        let finding = schema1(&reference());
        assert_eq!((finding.id, finding.severity), (Id::Schema1, Severity::Error));
        assert!(
            finding.remedies[0].commands[0]
                .starts_with("skopeo copy --format v2s2 docker://registry.example/org/app:1 ")
        );
    }
}
