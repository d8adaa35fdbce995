//! Changing a person's file by as little as possible.
//!
//! An edit is only made where the new text, read again, says what the old one said and the
//! one thing more. Where that cannot be shown, nobody edits: the person is told what to write.

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

/// What one text has in place of another: the parts between what both begin and end with.
pub(super) fn difference<'a>(old: &'a str, new: &'a str) -> (&'a str, &'a str) {
    let prefix = old.char_indices().zip(new.char_indices()).take_while(|(a, b)| a == b).last();
    let start = prefix.map_or(0, |((at, character), _)| at + character.len_utf8());
    let (old, new) = (&old[start..], &new[start..]);
    let suffix = old.chars().rev().zip(new.chars().rev()).take_while(|(a, b)| a == b);
    let end: usize = suffix.map(|(character, _)| character.len_utf8()).sum();
    (&old[..old.len() - end], &new[..new.len() - end])
}

/// Takes a change from `before` to `after` back out of a text that has changed since; `None`
/// where it is not there exactly once.
pub(super) fn without(text: &str, before: &str, after: &str) -> Option<String> {
    let (old, new) = difference(before, after);
    let mut found = text.match_indices(new);
    let (at, _) = found.next().filter(|_| !new.trim().is_empty())?;
    if found.next().is_some() {
        return None;
    }
    Some(format!("{}{old}{}", &text[..at], &text[at + new.len()..]))
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
        assert_eq!(difference("abc", "abXc"), ("", "X"));
        assert_eq!(difference("aa", "aaa"), ("", "a"));
        assert_eq!(difference("é1", "é2"), ("1", "2"));
        let (before, after) = ("a\nb\n", "a\nours\nb\n");
        assert_eq!(without("new\na\nours\nb\nmore\n", before, after).as_deref(), Some("new\na\nb\nmore\n"));
        assert_eq!(without("a\nours\nours\nb\n", before, after), None);
        assert_eq!(without("a\nb\n", before, after), None);
        assert_eq!(without("anything", "same", "same"), None);
    }
}
