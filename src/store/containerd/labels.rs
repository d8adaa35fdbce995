//! The labels that keep an image's parts alive in containerd, and say where they came from.
//!
//! Pure: roles and existing labels in, labels out. The result is what containerd itself
//! sets when it pulls (its `ChildGCLabels` and distribution source handler), so that its
//! garbage collector and its push treat our images like its own.
//!
//! `containerd.io/uncompressed` is not set here although [`Role::Layer`] brings the diffID:
//! until the layer was unpacked it is only the config's claim, and on a layer that another
//! image shares, a false claim would replace a true one. The unpacker records it, as
//! containerd's does.

use std::collections::{BTreeMap, HashMap};

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::reference::Reference;
use crate::store::{Belongs, Role};

/// Labels by key.
pub(crate) type Labels = BTreeMap<String, String>;

/// containerd refuses a label whose key and value together are longer.
const MAX_LABEL: usize = 4096;

const GC_CONTENT: &str = "containerd.io/gc.ref.content.";
const GC_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
const SOURCE: &str = "containerd.io/distribution.source.";
/// Digest of a layer's tar.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// What has to be set on a blob that now has the labels `existing`: only what differs.
pub(super) fn missing(belongs: Belongs<'_>, existing: &HashMap<String, String>) -> Labels {
    let mut labels = children(belongs.role);
    let host = host_name(belongs.source.registry());
    let key = format!("{SOURCE}{host}");
    let repositories = merged(existing.get(&key).map_or("", String::as_str), belongs.source.repository());
    if key.len() + repositories.len() <= MAX_LABEL {
        labels.insert(key, repositories);
    }
    labels.retain(|key, value| existing.get(key) != Some(value));
    labels
}

/// The label that keeps the unpacked image alive as long as its config.
pub(crate) fn snapshot(snapshotter: &str, top: &Digest) -> Labels {
    Labels::from([(format!("{GC_SNAPSHOT}{snapshotter}"), top.to_string())])
}

fn children(role: Role<'_>) -> Labels {
    match role {
        Role::Index(index) => number(&mut index.manifests.iter()),
        Role::Manifest(manifest) => number(&mut std::iter::once(&manifest.config).chain(&manifest.layers)),
        Role::Config | Role::Layer(_) => Labels::new(),
    }
}

/// Each kind of child is counted by itself; the first config has no number.
fn number(children: &mut dyn Iterator<Item = &Descriptor>) -> Labels {
    let mut counts: HashMap<&'static str, usize> = HashMap::new();
    let mut labels = Labels::new();
    for child in children {
        let kind = kind(&child.media_type);
        let count = counts.entry(kind).or_default();
        let key = if kind == "config" && *count == 0 {
            format!("{GC_CONTENT}{kind}")
        } else {
            format!("{GC_CONTENT}{kind}{count}")
        };
        *count += 1;
        labels.insert(key, child.digest.to_string());
    }
    labels
}

fn kind(media_type: &MediaType) -> &'static str {
    match media_type {
        kind if kind.is_config() => "config",
        kind if kind.is_manifest() => "m.",
        kind if kind.is_layer() => "l.",
        _ => "",
    }
}

/// Whether labels tell that content came from the registry of `source`, whatever its port.
pub(super) fn is_from(labels: &HashMap<String, String>, source: &Reference) -> bool {
    labels
        .get(&format!("{SOURCE}{}", host_name(source.registry())))
        .is_some_and(|repositories| !repositories.is_empty())
}

/// The registry without its port, and an IPv6 address without its brackets.
fn host_name(registry: &str) -> &str {
    match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split(':').next().unwrap_or(registry),
    }
}

/// Repositories, sorted, each once, joined by commas.
fn merged(existing: &str, repository: &str) -> String {
    let mut all: Vec<&str> = existing.split(',').filter(|text| !text.is_empty()).chain([repository]).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::Annotations;
    use crate::core::manifest::{Index, Manifest};
    use crate::core::reference::Reference;

    fn descriptor(media_type: &str, content: &str) -> Descriptor {
        Descriptor::new(MediaType::parse(media_type), Digest::of(content.as_bytes()), 1)
    }

    fn source(text: &str) -> Reference {
        text.parse().expect("well formed")
    }

    fn keys(labels: &Labels, content: &[(&str, &str)]) {
        let expected: Labels =
            content.iter().map(|(key, text)| ((*key).to_owned(), Digest::of(text.as_bytes()).to_string())).collect();
        assert_eq!(*labels, expected);
    }

    #[test]
    fn an_index_keeps_every_entry_by_kind_and_position() {
        let index = Index {
            manifests: vec![
                descriptor("application/vnd.oci.image.manifest.v1+json", "amd64"),
                descriptor("application/vnd.oci.image.index.v1+json", "nested"),
                descriptor("application/vnd.docker.distribution.manifest.v2+json", "arm64"),
                descriptor("application/vnd.example", "other"),
            ],
            annotations: Annotations::new(),
        };
        keys(
            &children(Role::Index(&index)),
            &[
                ("containerd.io/gc.ref.content.m.0", "amd64"),
                ("containerd.io/gc.ref.content.0", "nested"),
                ("containerd.io/gc.ref.content.m.1", "arm64"),
                ("containerd.io/gc.ref.content.1", "other"),
            ],
        );
    }

    #[test]
    fn a_manifest_keeps_its_config_and_layers() {
        let manifest = Manifest {
            config: descriptor("application/vnd.docker.container.image.v1+json", "config"),
            layers: vec![
                descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "a"),
                descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", "b"),
                descriptor("application/vnd.example.model", "c"),
            ],
            annotations: Annotations::new(),
        };
        keys(
            &children(Role::Manifest(&manifest)),
            &[
                ("containerd.io/gc.ref.content.config", "config"),
                ("containerd.io/gc.ref.content.l.0", "a"),
                ("containerd.io/gc.ref.content.l.1", "b"),
                ("containerd.io/gc.ref.content.0", "c"),
            ],
        );
        let artifact = Manifest {
            config: descriptor("application/vnd.example.config", "config"),
            layers: vec![descriptor("application/vnd.example.model", "model")],
            annotations: Annotations::new(),
        };
        keys(
            &children(Role::Manifest(&artifact)),
            &[("containerd.io/gc.ref.content.0", "config"), ("containerd.io/gc.ref.content.1", "model")],
        );
    }

    #[test]
    fn the_source_is_the_host_without_port() {
        let cases = [
            ("busybox", "docker.io", "library/busybox"),
            ("localhost:5000/team/app:v1", "localhost", "team/app"),
            ("[::1]:5000/app", "::1", "app"),
            ("quay.io/a/b", "quay.io", "a/b"),
        ];
        for (reference, host, repository) in cases {
            let reference = source(reference);
            let labels = missing(Belongs { role: Role::Config, source: &reference }, &HashMap::new());
            assert_eq!(labels, Labels::from([(format!("{SOURCE}{host}"), repository.to_owned())]));
        }
    }

    #[test]
    fn repositories_are_merged_sorted_and_unique() {
        let cases = [
            ("", "b", "b"),
            ("a", "b", "a,b"),
            ("c", "b", "b,c"),
            ("a,b", "b", "a,b"),
            ("b,a,b", "c", "a,b,c"),
            (",a", "b", "a,b"),
        ];
        for (existing, repository, expected) in cases {
            assert_eq!(merged(existing, repository), expected, "{existing:?} and {repository:?}");
        }
    }

    #[test]
    fn only_what_differs_is_set() {
        let reference = source("quay.io/a");
        let belongs = Belongs { role: Role::Layer(None), source: &reference };
        let key = "containerd.io/distribution.source.quay.io".to_owned();
        let has = |value: &str| HashMap::from([(key.clone(), value.to_owned())]);
        assert_eq!(missing(belongs, &has("a,b")), Labels::new());
        assert_eq!(missing(belongs, &has("b")), Labels::from([(key.clone(), "a,b".into())]));
        let room = MAX_LABEL - key.len() - ",a".len();
        assert_eq!(missing(belongs, &has(&"b".repeat(room + 1))), Labels::new(), "over containerd's limit");
        assert_eq!(missing(belongs, &has(&"b".repeat(room))).len(), 1);
    }

    #[test]
    fn a_layers_diff_id_is_not_believed_before_it_is_unpacked() {
        let reference = source("quay.io/a");
        let claimed = Digest::of(b"claimed");
        let labels = missing(Belongs { role: Role::Layer(Some(&claimed)), source: &reference }, &HashMap::new());
        assert!(!labels.contains_key(UNCOMPRESSED));
    }

    #[test]
    fn a_config_keeps_the_top_snapshot() {
        let top = Digest::of(b"top");
        let expected = Labels::from([("containerd.io/gc.ref.snapshot.overlayfs".to_owned(), top.to_string())]);
        assert_eq!(snapshot("overlayfs", &top), expected);
    }

    #[test]
    fn the_source_tells_the_host_without_its_port() {
        let key = "containerd.io/distribution.source.quay.io".to_owned();
        let labels = HashMap::from([(key.clone(), "org/app,org/base".to_owned())]);
        for (source, expected) in [
            ("quay.io/org/app", true),
            ("quay.io/else/app", true),
            ("quay.io:5000/a/b", true),
            ("ghcr.io/org/app", false),
        ] {
            let source = source.parse().expect("a reference");
            assert_eq!(is_from(&labels, &source), expected, "{source}");
        }
        let empty = HashMap::from([(key, String::new())]);
        assert!(!is_from(&empty, &"quay.io/org/app".parse().expect("a reference")));
    }
}
