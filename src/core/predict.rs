//! What other clients would choose from the same index on the same host.
//!
//! Each rule is the client's own, read from its source (see the functions), so that a
//! node's owner learns beforehand that `ctr` and kubelet will disagree.

use super::descriptor::MediaType;
use super::platform::{Matcher, Platform};
use super::select::{self, Eligible, Entry, EntryPath, Inner};

/// A client whose choice is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// `ctr images pull`, nerdctl, and the CRI plug-in before containerd 2.1.
    Ctr,
    /// kubelet through the CRI plug-in of containerd 2.1 and newer.
    Cri,
    /// Docker Engine with the containerd image store.
    Docker,
    /// podman, CRI-O, skopeo.
    Podman,
}

impl Client {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Ctr, Self::Cri, Self::Docker, Self::Podman];

    /// Stable name, used in JSON output and by the daemon's API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ctr => "ctr",
            Self::Cri => "cri",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// What people call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ctr => "ctr, nerdctl",
            Self::Cri => "kubelet (CRI, containerd 2.1+)",
            Self::Docker => "docker",
            Self::Podman => "podman, CRI-O, skopeo",
        }
    }
}

/// What a client does with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It takes these manifests; more than one where it does not stop at the first.
    Takes(Vec<EntryPath>),
    /// It takes the lone manifest without looking at its platform.
    TakesUnchecked,
    /// It finds no match.
    NoMatch,
    /// It fails, with the reason.
    Fails(&'static str),
}

/// What the rules need to know of the host.
#[derive(Debug, Clone)]
pub struct HostView {
    /// What containerd matches with (`DefaultSpec` of the daemon).
    pub containerd: Platform,
    /// The same with the CPU's real level, which Docker uses on amd64.
    pub isa: Platform,
}

/// What `client` would take from an index of this type with these entries.
#[must_use]
pub fn predict(client: Client, index: &MediaType, entries: &[Entry], host: &HostView) -> Outcome {
    let first = |matcher: &Matcher| match select::choose(entries, matcher, Eligible::Everything) {
        Some(path) => Outcome::Takes(vec![path]),
        None => Outcome::NoMatch,
    };
    match client {
        Client::Ctr => first(&Matcher::only(&host.containerd)),
        Client::Docker => {
            first(&Matcher::only(if host.isa.architecture == "amd64" { &host.isa } else { &host.containerd }))
        }
        Client::Cri => match every_strict_match(entries, &Matcher::strict(&host.containerd)) {
            matches if matches.is_empty() => Outcome::NoMatch,
            matches => Outcome::Takes(matches),
        },
        Client::Podman => podman(index, entries, &host.containerd),
    }
}

/// containerd 2.1+ pulls through its transfer service with `Ordered(DefaultSpec)` and no
/// limit: no fall-back to lower variants, and every match is fetched, entries without
/// platform included (core/transfer/local/pull.go, imagestore.go).
fn every_strict_match(entries: &[Entry], matcher: &Matcher) -> Vec<EntryPath> {
    select::flatten(entries)
        .into_iter()
        .filter(|(path, entry)| {
            let declared = entry.descriptor.platform.as_ref();
            let parents_match = (1..path.len()).all(|end| {
                let parent = select::at(entries, &path[..end]).and_then(|entry| entry.descriptor.platform.as_ref());
                parent.is_none_or(|platform| matcher.slot(platform).is_some())
            });
            parents_match
                && !matches!(entry.inner, Inner::Nested(_))
                && entry.descriptor.media_type.is_manifest()
                && declared.is_none_or(|platform| matcher.slot(platform).is_some())
        })
        .map(|(path, _)| path)
        .collect()
}

/// containers/image: names are compared as they are written; an entry without platform is
/// taken last and unchecked, and of Docker's lists never; a nested index has no platform and fails
/// when it is opened (internal/manifest, chooseInstance).
fn podman(index: &MediaType, entries: &[Entry], host: &Platform) -> Outcome {
    for wanted in podman_wants(host) {
        let same = |platform: &Platform| {
            platform.os == wanted.os
                && platform.architecture == wanted.architecture
                && platform.variant == wanted.variant
        };
        if let Some(position) = entries.iter().position(|entry| entry.descriptor.platform.as_ref().is_some_and(same)) {
            return opened(entries, position);
        }
    }
    let unchecked = entries.iter().position(|entry| entry.descriptor.platform.is_none());
    match unchecked.filter(|_| *index != MediaType::DockerManifestList) {
        Some(position) => opened(entries, position),
        None => Outcome::NoMatch,
    }
}

fn opened(entries: &[Entry], position: usize) -> Outcome {
    if entries[position].descriptor.media_type.is_index() {
        return Outcome::Fails("cannot read an index inside an index");
    }
    Outcome::Takes(vec![vec![position]])
}

/// The host's variants downwards, then no variant at all.
fn podman_wants(host: &Platform) -> Vec<Platform> {
    let host = host.normalized();
    let variants: &[&str] = match (host.architecture.as_str(), host.variant.as_str()) {
        ("arm", "v8") => &["v8", "v7", "v6", "v5", ""],
        ("arm", "v7") => &["v7", "v6", "v5", ""],
        ("arm", "v6") => &["v6", "v5", ""],
        ("arm", "v5") => &["v5", ""],
        ("arm64", _) => &["v8", ""],
        _ => &[""],
    };
    variants.iter().map(|variant| Platform { variant: (*variant).into(), ..host.clone() }).collect()
}
