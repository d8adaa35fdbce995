//! docker: its mirrors of docker.io, the only registry for which it knows any.

use super::edit::prepend_json;
use super::facts::Docker;
use super::root::Content;
use super::{Steps, Topic, Wanted};

const KEY: &str = "registry-mirrors";

/// What connects docker.
pub(super) fn plan(node: &Docker, wanted: &Wanted, steps: &mut Steps) {
    steps.about(Topic::Docker);
    let url = format!("http://{}", wanted.mirror);
    let path = &node.config.path;
    let paste = format!("{{\n  \"{KEY}\": [\"{url}\"]\n}}\n");
    let why = "docker asks the mirror first for images of docker.io".to_owned();
    match &node.config.content {
        Content::Absent => steps.create(path, paste, why),
        Content::Text(text) | Content::Linked(text) if mirrors(text).contains(&url) => return,
        Content::Text(text) => match prepend_json(text, KEY, &url) {
            Some(edited) => steps.edit(path, text, edited, why),
            None => return steps.advise(path, "the key does not fit into it safely".into(), paste),
        },
        Content::Linked(_) => {
            return steps.advise(path, "it is a symbolic link, so that somebody else manages it".into(), paste);
        }
        Content::Unreadable(reason) => return steps.advise(path, format!("it cannot be read ({reason})"), paste),
    }
    steps.then(path, "systemctl reload docker");
}

/// The mirrors that are there. docker adds a slash where there is none, and so do people.
fn mirrors(text: &str) -> Vec<String> {
    let Ok(file) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let list = file.get(KEY).and_then(|list| list.as_array()).into_iter().flatten();
    list.filter_map(|entry| entry.as_str()).map(|entry| entry.trim_end_matches('/').to_owned()).collect()
}
