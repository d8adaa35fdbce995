//! Changing a person's file by as little as possible.
//!
//! An edit is only made where the new text, read again, says what the old one said and the
//! one thing more. Where that cannot be shown, nobody edits: the person is told what to write.

use similar::{Algorithm, DiffTag};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// Stands beside every line that goes into somebody's TOML or YAML file.
pub(super) const NOTE: &str = "# by lighterman setup";

/// A TOML text with one key set, tables made as needed; `None` where that would change
/// anything else, or the text is not TOML.
pub(super) fn set_toml(text: &str, path: &[&str], value: &Value) -> Option<String> {
    let wanted = with_value(text.parse().ok()?, path, value)?;
    // There is no room for a comment in an inline table.
    [NOTE, ""].into_iter().find_map(|note| {
        let edited = insert(text, path, value, note)?;
        (edited.parse::<toml::Table>().ok()? == wanted).then_some(edited)
    })
}

fn insert(text: &str, path: &[&str], value: &Value, note: &str) -> Option<String> {
    let (key, tables) = path.split_last()?;
    let mut document: DocumentMut = text.parse().ok()?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in tables {
        let made = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        table = table.entry(name).or_insert_with(made).as_table_like_mut()?;
    }
    let mut value = value.clone();
    if !note.is_empty() {
        value.decor_mut().set_suffix(format!(" {note}"));
    }
    match table.get_mut(key) {
        // In place, so that it keeps its indentation.
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(key, Item::Value(value))),
    }
    Some(document.to_string())
}

/// What the file has to mean afterwards.
fn with_value(mut document: toml::Table, path: &[&str], value: &Value) -> Option<toml::Table> {
    let (key, tables) = path.split_last()?;
    let mut table = &mut document;
    for name in tables {
        let entry = table.entry((*name).to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut()?;
    }
    let parsed: toml::Table = format!("value = {value}").parse().ok()?;
    table.insert((*key).to_owned(), parsed.get("value")?.clone());
    Some(document)
}

/// A JSON object with one text put first into a list; `None` as above. JSON has no comments.
pub(super) fn prepend_json(text: &str, key: &str, entry: &str) -> Option<String> {
    use serde_json::{Value, json};
    let mut wanted: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let list = wanted.entry(key).or_insert_with(|| json!([])).as_array_mut()?;
    list.insert(0, json!(entry));
    let (name, entry) = (json!(key), json!(entry));
    let edited = match text.split_once(&name.to_string()) {
        Some((before, after)) => {
            let (between, rest) = after.split_once('[')?;
            let comma = if rest.trim_start().starts_with(']') { "" } else { ", " };
            format!("{before}{name}{between}[{entry}{comma}{rest}")
        }
        None => {
            let (before, rest) = text.split_once('{')?;
            let comma = if rest.trim_start().starts_with('}') { "\n" } else { "," };
            format!("{before}{{\n  {name}: [{entry}]{comma}{rest}")
        }
    };
    let meant: serde_json::Map<String, Value> = serde_json::from_str(&edited).ok()?;
    (meant == wanted).then_some(edited)
}

/// A YAML text with one key at its top, put behind the line that names its kind. YAML is not
/// parsed here: only a file of plain lines with that very line is changed.
pub(super) fn insert_yaml(text: &str, kind: &str, key: &str, value: &str) -> Option<String> {
    let at_kind = |line: &&str| line.trim_end() == format!("kind: {kind}");
    if text.lines().filter(at_kind).count() != 1 || text.contains('\t') {
        return None;
    }
    // An empty value counts as none; anything else is somebody's will.
    let empty = |line: &str| {
        let rest = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        rest.map(|rest| matches!(rest.trim(), "" | "\"\"" | "''" | "null" | "~"))
    };
    let ours = format!("{key}: {value} {NOTE}\n");
    let mut edited = String::with_capacity(text.len() + ours.len());
    let replaces = text.lines().any(|line| empty(line) == Some(true));
    for line in text.split_inclusive('\n') {
        match empty(line) {
            Some(true) => edited.push_str(&ours),
            Some(false) => return None,
            None => edited.push_str(line),
        }
        if !replaces && at_kind(&line) {
            if !line.ends_with('\n') {
                edited.push('\n');
            }
            edited.push_str(&ours);
        }
    }
    Some(edited)
}

/// What comes of taking a change back out of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Without {
    /// The text without it.
    Text(String),
    /// Nothing of it is there.
    Gone,
    /// Somebody changed the very lines, so that nobody can tell what is whose.
    Mixed,
}

/// Takes a change from `before` to `after` back out of a text that has changed since. Each run of
/// lines that the change made has to be there exactly once, whole, wherever it is by now.
pub(super) fn without(text: &str, before: &str, after: &str) -> Without {
    let (old, new, mut rest) = (lines(before), lines(after), lines(text));
    let mut taken = false;
    for change in similar::capture_diff_slices(Algorithm::Patience, &old, &new) {
        let (tag, old_range, new_range) = change.as_tag_tuple();
        let (olds, news) = (&old[old_range], &new[new_range]);
        let is_blank = [olds, news].concat().iter().all(|line| line.trim().is_empty());
        if tag == DiffTag::Equal || is_blank {
            continue;
        }
        match places(&rest, news)[..] {
            [at] => {
                rest.splice(at..at + news.len(), olds.iter().copied());
                taken = true;
            }
            [] if olds.is_empty() && !mentions(text, news) => {}
            _ => return Without::Mixed,
        }
    }
    let end = if text.ends_with('\n') && !rest.is_empty() { "\n" } else { "" };
    if taken { Without::Text(rest.join("\n") + end) } else { Without::Gone }
}

/// Whether a text has any of these lines, or a longer one with it.
fn mentions(text: &str, lines: &[&str]) -> bool {
    lines.iter().map(|line| line.trim()).any(|line| !line.is_empty() && text.contains(line))
}

/// Lines without their ends. Whether the last one has an end makes no line.
fn lines(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.strip_suffix('\n').unwrap_or(text).split('\n').collect() }
}

/// Where some lines stand among others, one behind the other.
fn places(lines: &[&str], wanted: &[&str]) -> Vec<usize> {
    // Nothing is everywhere.
    let windows = lines.windows(wanted.len().max(1)).enumerate();
    windows.filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRI: &[&str] = &["plugins", "io.containerd.grpc.v1.cri", "registry", "config_path"];

    #[test]
    fn toml_gets_one_key_and_keeps_every_comment() {
        let path = Value::from("/certs.d");
        let cases = [
            (
                "",
                Some(
                    "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/certs.d\" # by lighterman setup\n",
                ),
            ),
            (
                "# mine\nversion = 2 # two\n[plugins]\n  [plugins.'io.containerd.grpc.v1.cri']\n    x = 1\n# last\n",
                Some(
                    "# mine\nversion = 2 # two\n[plugins]\n  [plugins.'io.containerd.grpc.v1.cri']\n    x = 1\n\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = \"/certs.d\" # by lighterman setup\n# last\n",
                ),
            ),
            (
                "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"\" # none\n",
                Some(
                    "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/certs.d\" # by lighterman setup\n",
                ),
            ),
            (
                "[plugins.\"io.containerd.grpc.v1.cri\"]\nregistry = { config_path = \"\" }\n",
                Some("[plugins.\"io.containerd.grpc.v1.cri\"]\nregistry = { config_path = \"/certs.d\" }\n"),
            ),
            ("plugins = 7\n", None),
            ("not toml", None),
        ];
        for (text, expected) in cases {
            assert_eq!(set_toml(text, CRI, &path).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn json_gets_one_entry_and_keeps_its_layout() {
        let cases = [
            ("{}", Some("{\n  \"m\": [\"x\"]\n}")),
            ("{\n  \"a\": 1\n}\n", Some("{\n  \"m\": [\"x\"],\n  \"a\": 1\n}\n")),
            ("{ \"m\" : [ ] }", Some("{ \"m\" : [\"x\" ] }")),
            ("{\"m\":[\"y\"]}", Some("{\"m\":[\"x\", \"y\"]}")),
            ("{\"a\": \"m\", \"m\": []}", Some("{\"a\": \"m\", \"m\": [\"x\"]}")),
            ("{\"a\": \"m\", \"b\": [], \"m\": []}", None),
            ("{\"m\": 7}", None),
            ("[]", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(prepend_json(text, "m", "x").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn yaml_gets_one_line_where_that_is_safe() {
        let line = format!("ep: unix:///s {NOTE}\n");
        let cases = [
            ("apiVersion: v1\nkind: K\nz: 1\n", Some(format!("apiVersion: v1\nkind: K\n{line}z: 1\n"))),
            ("kind: K", Some(format!("kind: K\n{line}"))),
            ("kind: K\nep: \"\"\nz: 1\n", Some(format!("kind: K\n{line}z: 1\n"))),
            ("kind: K\nep: unix:///other\n", None),
            ("kind: Other\n", None),
            ("{\"kind\": \"K\"}\n", None),
            ("kind: K\n---\nkind: K\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(insert_yaml(text, "K", "ep", "unix:///s"), expected, "{text}");
        }
    }

    #[test]
    fn a_change_is_taken_back_out_of_a_text_that_went_on() {
        let text = |text: &str| Without::Text(text.into());
        let (one, two) = (("a\nb\n", "a\nours\nb\n"), ("a\nb = 1\nc\n", "a\nours\nb = 2\nc\nlast\n"));
        let cases = [
            ("new\na\nours\nb\nmore\n", one, text("new\na\nb\nmore\n")),
            ("a\nx\nours\ny\nb\n", one, text("a\nx\ny\nb\n")),
            ("a\nours\nours\nb\n", one, Without::Mixed),
            ("a\nours too\nb\n", one, Without::Mixed),
            ("a\nour own\nb\n", one, Without::Gone),
            ("", one, Without::Gone),
            ("a\nours\nx\nb = 2\nc\nlast", two, Without::Mixed),
            ("a\nours\nb = 2\nx\nc\ny\nlast", two, text("a\nb = 1\nx\nc\ny")),
            ("a\nours\nb = 2\nc\n", two, text("a\nb = 1\nc\n")),
            ("a\nours\nb = 3\nc\n", two, Without::Mixed),
            // A last line without an end is no other line than one with.
            ("k: K\nours\nmine\n", ("k: K", "k: K\nours\n"), text("k: K\nmine\n")),
            ("ours\n", ("", "ours\n"), text("")),
            ("{\r\nours\r\nx\r\n}\r\n", ("{\r\n}\r\n", "{\r\nours\r\n}\r\n"), text("{\r\nx\r\n}\r\n")),
            ("anything", ("same", "same"), Without::Gone),
        ];
        for (now, (before, after), expected) in cases {
            assert_eq!(without(now, before, after), expected, "{now:?} {before:?} {after:?}");
        }
    }
}
