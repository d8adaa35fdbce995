//! podman, and whatever else reads containers-registries.conf(5): skopeo, buildah, CRI-O.
//!
//! A mirror there is a location, without the name of the registry that it stands in for. So
//! it is docker.io alone, for which the mirror stands when nobody names a registry.

use toml::{Table, Value};

use super::facts::{Found, Podman};
use super::{Own, Steps, Topic, Wanted, header};

/// Our part of registries.conf.
pub(super) const PART: &str = "/etc/containers/registries.conf.d/50-lighterman.conf";
const REGISTRY: &str = "docker.io";

/// What connects podman.
pub(super) fn plan(node: &Podman, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Podman);
    let mirror = format!("[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n", wanted.mirror);
    let entry = format!("[[registry]]\nprefix = \"{REGISTRY}\"\nlocation = \"{REGISTRY}\"\n\n{mirror}");
    // A part replaces what other files say about the same prefix.
    if let Some(other) = node.others.iter().find(|file| speaks_of_registry(file)) {
        if !other.content.text().is_some_and(|text| text.contains(&wanted.mirror)) {
            let why = format!("it says something about {REGISTRY} already");
            steps.advise(&other.path, why, mirror);
        }
        return;
    }
    let text = format!("{}{entry}", header("#"));
    let leads_here = |text: &str| text.contains(&format!("\"{}\"", wanted.mirror));
    let why = "podman asks the mirror first for images of docker.io".into();
    steps.own(Own { file: &node.own, mode: 0o644, text, why, paste: entry }, leads_here);
}

fn speaks_of_registry(file: &Found) -> bool {
    let Some(Ok(table)) = file.content.text().map(str::parse::<Table>) else { return false };
    let list = table.get("registry").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| entry.get("prefix").or_else(|| entry.get("location")))
        .any(|name| name.as_str() == Some(REGISTRY))
}
