//! Who unpacks what containerd pulls by itself. Only on request: where the daemon is down, those
//! pulls fail.
//!
//! containerd names its differs in two places. The diff service, since 1.7 open to those of
//! others, has a list, and goes on to the next one where one says that it does not do this: CRI
//! uses it before 2.1, and so do clients that pull for themselves. The transfer service, which
//! pulls for CRI from 2.1 on, has one differ for each snapshotter, and no next one. What it has
//! for overlayfs by default is replaced by a list of our own; where a person wrote one, it is
//! theirs to change.
//!
//! Specification: containerd `plugins/transfer`, `plugins/services/diff`, docs/PLUGINS.md.

use toml_edit::{Array, InlineTable, Value};

use super::containerd::RESTART;
use super::edit::set_toml;
use super::facts::Containerd;
use super::root::Content;
use super::runtime::{NAME, OVERLAYFS, RuntimeConfig, TRANSFER, differ_plugin};
use super::version::Version;
use super::{Steps, Topic, Wanted, header};

/// Before it, containerd has no differs but its own.
const FIRST: Version = Version::new(1, 7);
/// From it on, CRI pulls by the transfer service.
const TRANSFERS: Version = Version::new(2, 1);
/// What a person writes for the transfer service. "linux" is the platform that containerd itself
/// is built for.
const UNPACKING_TEXT: &str = "\n[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n  platform = \"linux\"\n  \
                              snapshotter = \"overlayfs\"\n  differ = \"lighterman\"\n";

/// What makes us containerd's differ.
pub(super) fn plan(node: &Containerd, settings: &RuntimeConfig, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Differ);
    let path = &node.config.path;
    let Some(version) = node.version else {
        let paste = list_text(settings, wanted) + UNPACKING_TEXT;
        let why = "nobody could tell which containerd this is; 1.7 and 2.0 take the first two tables of these, and \
                   newer ones all of them";
        return steps.advise(path, why.into(), paste);
    };
    let transfers = version >= TRANSFERS;
    let paste = list_text(settings, wanted) + if transfers { UNPACKING_TEXT } else { "" };
    if version < FIRST {
        let why = format!("containerd {version} has no differs but its own; from {FIRST} on it takes this");
        return steps.advise(path, why, paste);
    }
    let unpacking = settings.unpacking_with(OVERLAYFS);
    let is_listed = settings.our_differ.as_ref() == Some(&wanted.socket)
        && settings.differs.as_deref().is_some_and(|differs| differs.first().is_some_and(|first| first == NAME));
    if is_listed && (!transfers || unpacking == Some(NAME)) {
        return;
    }
    if let Some((file, why)) = obstacle(node, settings, transfers) {
        return steps.advise(&file, why, paste);
    }
    let why = match transfers {
        true => "containerd's own pulls are unpacked by lighterman; what it does not unpack, CRI cannot pull then",
        false => "containerd's own pulls are unpacked by lighterman",
    };
    // The step before may have changed the same file.
    let (before, current) = match (steps.text_of(path), node.config.content.text()) {
        (Some(text), _) => (None, text.to_owned()),
        (None, Some(text)) => (Some(text.to_owned()), text.to_owned()),
        (None, None) => (None, format!("{}version = {}\n", header("#"), settings.schema)),
    };
    let set = |text: String, (key, value): ([&str; 3], Value)| set_toml(&text, &key, &value);
    match keys(settings, wanted, transfers).into_iter().try_fold(current, set) {
        Some(edited) => {
            steps.write(path, (before, edited), 0o644, why.into());
            steps.then(path, RESTART);
        }
        None => steps.advise(path, "the keys do not fit into it safely".into(), paste),
    }
}

/// What keeps us from changing the file ourselves: which file, and why.
fn obstacle(node: &Containerd, settings: &RuntimeConfig, transfers: bool) -> Option<(String, String)> {
    let imports = [node.import_with(differ_plugin), node.import_with(|_| TRANSFER).filter(|_| transfers)];
    if let Some(import) = imports.into_iter().flatten().next() {
        let why = format!("{} is imported and takes the place of what this file says of differs", import.path);
        return Some((import.path.clone(), why));
    }
    let path = node.config.path.clone();
    if matches!(node.config.content, Content::Linked(_) | Content::Unreadable(_)) {
        return Some((path, "it is a symbolic link, so that somebody else manages it".into()));
    }
    if !transfers {
        return None;
    }
    if settings.unpacking.is_some() {
        return Some((
            path,
            "it has an unpack_config of somebody's, in which the entry for overlayfs names the differ".into(),
        ));
    }
    let other = settings.snapshotter.as_deref().filter(|name| *name != OVERLAYFS)?;
    Some((path, format!("CRI unpacks into {other}, whose trees are often not ours to make, and has no second differ")))
}

/// What is set.
fn keys(settings: &RuntimeConfig, wanted: &Wanted, transfers: bool) -> Vec<([&'static str; 3], Value)> {
    let order: Array = order(settings).iter().map(String::as_str).collect();
    let mut keys = vec![
        (["proxy_plugins", NAME, "type"], Value::from("diff")),
        (["proxy_plugins", NAME, "address"], Value::from(wanted.socket.as_str())),
        (["plugins", differ_plugin(settings.schema), "default"], Value::Array(order)),
    ];
    if transfers {
        keys.push((["plugins", TRANSFER, "unpack_config"], unpacking()));
    }
    keys
}

/// Differs in the order in which they are asked.
fn order(settings: &RuntimeConfig) -> Vec<String> {
    let mut order: Vec<String> = settings.differs.clone().unwrap_or_else(|| vec!["walking".into()]);
    order.retain(|name| name != NAME);
    order.insert(0, NAME.into());
    order
}

/// The same as a value.
fn unpacking() -> Value {
    let entry = [("platform", "linux"), ("snapshotter", OVERLAYFS), ("differ", NAME)];
    Value::Array([entry.into_iter().collect::<InlineTable>()].into_iter().collect())
}

/// What a person writes for the diff service.
fn list_text(settings: &RuntimeConfig, wanted: &Wanted) -> String {
    let order: Vec<String> = order(settings).iter().map(|name| format!("{name:?}")).collect();
    format!(
        "[proxy_plugins.{NAME}]\n  type = \"diff\"\n  address = \"{}\"\n\n[plugins.\"{}\"]\n  default = [{}]\n",
        wanted.socket,
        differ_plugin(settings.schema),
        order.join(", ")
    )
}
