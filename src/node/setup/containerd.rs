//! containerd: its hosts.toml, and in its configuration what makes it read one.

use std::path::Path;

use toml_edit::Value;

use super::edit::set_toml;
use super::facts::{CONTAINERD_CONFIG, Containerd, HOSTS_DIR};
use super::root::Content;
use super::runtime::{RuntimeConfig, cri_plugin};
use super::version::Version;
use super::{Own, Steps, Topic, Wanted, differ, header};

/// Our program among containerd's image verifiers.
pub(super) const VERIFIER: &str = "/opt/containerd/image-verifier/bin/lighterman";
/// What lets the service write where this containerd keeps its data.
pub(super) const UNIT_ADDITION: &str = "/etc/systemd/system/lighterman.service.d/50-containerd-root.conf";
/// There, the unit may write anyway.
const WRITABLE: &str = "/var/lib/containerd";
/// What makes it read its configuration.
pub(super) const RESTART: &str = "systemctl restart containerd";

/// What connects containerd.
pub(super) fn plan(node: &Containerd, wanted: &Wanted, steps: &mut Steps) {
    hosts(node, wanted, steps);
    match &node.settings {
        Ok(settings) => {
            config_path(node, settings, steps);
            writable_root(node, settings, steps);
            if wanted.differ {
                differ::plan(node, settings, wanted, steps);
            }
        }
        Err(reason) => {
            steps.about(Topic::ConfigPath);
            steps.advise(&node.config.path, format!("it cannot be read ({reason})"), config_path_text(2));
        }
    }
    if wanted.verifier && node.version.is_some_and(|version| version >= Version::new(2, 0)) {
        verifier(node, wanted, steps);
    }
}

fn hosts(node: &Containerd, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Hosts);
    let entry = format!("[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", wanted.mirror);
    let text =
        format!("{}# Every registry without a folder of its own; itself it is asked last.\n{entry}", header("#"));
    let leads_here = |text: &str| text.contains(&format!("//{}\"", wanted.mirror));
    let why = "containerd asks the mirror first; it reads this at every pull".into();
    steps.own(Own { file: &node.hosts, mode: 0o644, text, why, paste: entry }, leads_here);
}

fn config_path(node: &Containerd, settings: &RuntimeConfig, steps: &mut Steps) {
    steps.about(Topic::ConfigPath);
    let path = &node.config.path;
    let paste = config_path_text(settings.schema);
    if settings.cri_disabled {
        return;
    }
    if settings.legacy_registries {
        let why = "registry.mirrors and registry.configs are set, and containerd's CRI does not start with \
                   config_path beside them: move them to hosts.toml files first";
        return steps.advise(path, why.into(), paste);
    }
    // Pulls of the transfer service take two folders for the name of one.
    let splits = node.version.is_none_or(|version| version >= Version::new(2, 1));
    match settings.config_path.as_deref().or_else(|| settings.hosts_path(node.version)) {
        Some(folders) if !folders.contains(':') || !splits => return,
        Some(folders) if settings.config_path.is_some() => {
            let why = format!(
                "config_path names more than one folder ({folders}), which containerd from 2.1 on takes for one name \
                 where it pulls by its transfer service, so that no hosts.toml is read"
            );
            return steps.advise(path, why, paste);
        }
        _ => {}
    }
    if let Some(import) = node.import_with(cri_plugin) {
        let why = format!("{} is imported and takes the place of what this file says of CRI", import.path);
        return steps.advise(&import.path, why, paste);
    }
    let why = "containerd's CRI reads hosts.toml files".to_owned();
    let key = ["plugins", cri_plugin(settings.schema), "registry", "config_path"];
    match &node.config.content {
        Content::Absent => {
            let text = format!("{}version = {}\n\n{paste}", header("#"), settings.schema);
            steps.create(CONTAINERD_CONFIG, text, why);
        }
        Content::Text(text) => match set_toml(text, &key, &Value::from(HOSTS_DIR)) {
            Some(edited) => steps.edit(path, text, edited, why),
            None => return steps.advise(path, "the key does not fit into it safely".into(), paste),
        },
        Content::Linked(_) | Content::Unreadable(_) => {
            return steps.advise(path, "it is a symbolic link, so that somebody else manages it".into(), paste);
        }
    }
    steps.then(path, RESTART);
}

fn config_path_text(schema: i64) -> String {
    format!("[plugins.\"{}\".registry]\n  config_path = \"{HOSTS_DIR}\"\n", cri_plugin(schema))
}

/// The unit may write to containerd's usual root only. Staging finds its place inside of it, so that
/// one writable path holds both ends of every link.
fn writable_root(node: &Containerd, settings: &RuntimeConfig, steps: &mut Steps) {
    steps.about(Topic::Unit);
    let root = settings.root().trim_end_matches('/');
    // A path with spaces or without a name is nobody's.
    if Path::new(root).starts_with(WRITABLE) || root.is_empty() || root.contains(char::is_whitespace) {
        return;
    }
    let entry = format!("[Service]\nReadWritePaths=-{root}\n");
    let text = format!("{}{entry}", header("#"));
    let why = format!("containerd keeps its data in {root}, where the service may not write otherwise");
    let does = |text: &str| text.contains(&format!("ReadWritePaths=-{root}\n"));
    steps.own(Own { file: &node.unit_addition, mode: 0o644, text, why, paste: entry }, does);
    steps.then(&node.unit_addition.path, "systemctl daemon-reload && systemctl restart lighterman");
}

fn verifier(node: &Containerd, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Verifier);
    // A program that is gone must not keep every image off the node.
    let script = format!("[ -x {0} ] || exit 0\nexec {0} verify-image \"$@\"\n", wanted.program);
    let text = format!("#!/bin/sh\n{}{script}", header("#"));
    let why = "containerd asks whether an image runs here before it pulls it".into();
    let paste = format!("#!/bin/sh\n{script}");
    steps.own(Own { file: &node.verifier, mode: 0o755, text, why, paste }, |text| text.contains(&script));
}
