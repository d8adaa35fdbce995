//! How other tools would make the same index, in commands that are ready for a shell.
//!
//! What a tool cannot do is said beside its commands (their sources, 2026): docker keeps a list of
//! its own and cannot list a manifest twice, crane has no platform but the config's.

use serde::Serialize;
use serde_json::json;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::shell_word;

use super::Publication;

/// What to type for one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Equivalent {
    /// The tool.
    pub tool: &'static str,
    /// Its commands, in order.
    pub commands: Vec<String>,
    /// What is different with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
}

/// The commands of other tools for this index.
#[must_use]
pub fn equivalents(publication: &Publication) -> Vec<Equivalent> {
    let entries = publication.draft.entries();
    let children: Vec<(String, &Descriptor)> =
        entries.iter().map(|entry| (whereabouts(publication, entry), entry)).collect();
    let reference = shell_word(&publication.reference.to_string()).into_owned();
    vec![
        docker(&reference, &children, publication.draft.media_type()),
        buildx(&reference, &children),
        crane(&reference, &children),
        podman(&reference, &children),
    ]
}

/// How to set a tag back to the digest that it had, as long as it stands for what it was set to.
#[must_use]
pub fn go_back(reference: &Reference, before: &Digest, now: &Digest) -> String {
    let before = reference.with_digest(before.clone());
    format!("lighterman manifest push {} {}", word(&before.to_string()), word(&format!("{reference}@{now}")))
}

fn whereabouts(publication: &Publication, entry: &Descriptor) -> String {
    let source = publication.sources.get(&entry.digest).unwrap_or(&publication.reference);
    word(&source.with_digest(entry.digest.clone()).to_string())
}

fn word(text: &str) -> String {
    shell_word(text).into_owned()
}

/// The digests that stand in more than one entry.
fn repeats(children: &[(String, &Descriptor)]) -> bool {
    let mut digests: Vec<&Digest> = children.iter().map(|(_, entry)| &entry.digest).collect();
    digests.sort();
    digests.windows(2).any(|pair| pair[0] == pair[1])
}

fn docker(reference: &str, children: &[(String, &Descriptor)], kind: &MediaType) -> Equivalent {
    let names: Vec<&str> = children.iter().map(|(name, _)| name.as_str()).collect();
    let mut commands = vec![format!("docker manifest create {reference} {}", names.join(" "))];
    for (name, entry) in children {
        if let Some(platform) = &entry.platform {
            let flags = flags(platform, "--os-version", "--os-features");
            commands.push(format!("docker manifest annotate{flags} {reference} {name}"));
        }
    }
    commands.push(format!("docker manifest push --purge {reference}"));
    let mut caution = vec!["it cannot take a variant away that a config names"];
    if *kind != MediaType::DockerManifestList {
        caution.insert(0, "it makes a Docker manifest list");
    }
    if repeats(children) {
        caution.push("it lists each manifest once, so that of several platforms for one the last stays");
    }
    Equivalent { tool: "docker", commands, caution: Some(caution.join("; ")) }
}

fn buildx(reference: &str, children: &[(String, &Descriptor)]) -> Equivalent {
    let mut command = format!("docker buildx imagetools create -t {reference}");
    for (_, entry) in children {
        let Descriptor { media_type, digest, size, platform, .. } = entry;
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": size, "platform": platform });
        command.push_str(&format!(" -f <(printf %s {})", word(&descriptor.to_string())));
    }
    let caution = "for bash; all images have to be in the repository".to_owned();
    Equivalent { tool: "docker buildx", commands: vec![command], caution: Some(caution) }
}

fn crane(reference: &str, children: &[(String, &Descriptor)]) -> Equivalent {
    let mut command = format!("crane index append -t {reference}");
    for (name, _) in children {
        command.push_str(&format!(" -m {name}"));
    }
    let caution = "it takes platforms from the images' configs alone: where one of those is wrong, \
                   crane mutate --set-platform makes another image of it first";
    Equivalent { tool: "crane", commands: vec![command], caution: Some(caution.into()) }
}

fn podman(reference: &str, children: &[(String, &Descriptor)]) -> Equivalent {
    let mut commands = vec![format!("podman manifest create {reference}")];
    for (name, entry) in children {
        let flags = entry.platform.as_ref().map(|platform| flags(platform, "--os-version", "--features"));
        commands.push(format!("podman manifest add{} {reference} docker://{name}", flags.unwrap_or_default()));
    }
    commands.push(format!("podman manifest push --all {reference} docker://{reference}"));
    let caution = repeats(children).then(|| "it lists each manifest once".to_owned());
    Equivalent { tool: "podman", commands, caution }
}

/// A platform as flags of a command.
fn flags(platform: &Platform, os_version: &str, os_features: &str) -> String {
    let features = platform.os_features.join(",");
    let values = [
        ("--os", &platform.os),
        ("--arch", &platform.architecture),
        ("--variant", &platform.variant),
        (os_version, &platform.os_version),
        (os_features, &features),
    ];
    let given = values.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(flag, value)| format!(" {flag} {}", word(value))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::core::draft::Draft;
    use crate::core::limits::Limits;

    fn publication(platforms: &[Value]) -> Publication {
        let entries: Vec<Value> = platforms
            .iter()
            .map(|platform| {
                json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
                    "digest": Digest::of(b"child"), "platform": platform,
                })
            })
            .collect();
        let document = json!({ "schemaVersion": 2, "manifests": entries });
        Publication {
            reference: "registry.example/app:1".parse().expect("a reference"),
            draft: Draft::from_json(&document, None, &Limits::default()).expect("an index"),
            replaces: None,
            sources: BTreeMap::new(),
        }
    }

    #[test]
    fn every_tool_is_told_the_platform() {
        let one = publication(&[json!({ "architecture": "arm", "os": "linux", "variant": "v6" })]);
        let child = format!("registry.example/app@{}", Digest::of(b"child"));
        let all = equivalents(&one);
        let of = |tool: &str| all.iter().find(|one| one.tool == tool).expect("a tool").commands.join("\n");
        assert_eq!(
            of("docker"),
            format!(
                "docker manifest create registry.example/app:1 {child}\n\
                 docker manifest annotate --os linux --arch arm --variant v6 registry.example/app:1 {child}\n\
                 docker manifest push --purge registry.example/app:1"
            )
        );
        assert!(
            of("docker buildx").contains("\"variant\":\"v6\"") && of("docker buildx").contains("-f <(printf %s '{")
        );
        assert!(of("crane").contains(&format!("-m {child}")));
        assert!(of("podman").contains(&format!("--variant v6 registry.example/app:1 docker://{child}")));
        let twice = json!({ "architecture": "arm", "os": "linux", "variant": "v7" });
        let twice = publication(&[json!({ "architecture": "arm", "os": "linux", "variant": "v6" }), twice]);
        assert!(equivalents(&twice)[0].caution.as_deref().is_some_and(|caution| caution.contains("once")));
    }

    #[test]
    fn the_way_back_holds_for_what_was_pushed_alone() {
        let one = publication(&[]);
        let (before, now) = (Digest::of(b"before"), Digest::of(b"now"));
        let expected = format!("lighterman manifest push registry.example/app@{before} registry.example/app:1@{now}");
        assert_eq!(go_back(&one.reference, &before, &now), expected);
    }

    #[test]
    fn what_strangers_wrote_stays_a_word() {
        let evil = publication(&[json!({ "architecture": "arm; rm -rf /", "os": "$(id)", "variant": "a'b`c`" })]);
        let docker = &equivalents(&evil)[0].commands[1];
        assert!(docker.contains("--os '$(id)' --arch 'arm; rm -rf /' --variant 'a'\\''b`c`'"), "{docker}");
    }
}
