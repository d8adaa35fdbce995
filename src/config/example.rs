//! The table of keys as text: the commented file of the package, the section of the README,
//! and what holds on this node.

use super::accepts::Accepts;
use super::effective::Effective;
use super::keys::{Change, Fallback, KEYS, Key, SECTIONS, Section};

/// Columns of a comment.
const WIDTH: usize = 96;

/// The file that a package installs: every key with what it means, and none set.
#[must_use]
pub fn commented() -> String {
    let mut text = String::from(
        "# lighterman's configuration. Every key is optional; what is commented out is an example.\n\
         # Flags and environment variables win over this file. `lighterman config check` says what\n\
         # is wrong with it, `lighterman config show` what holds; a service takes up changes with\n\
         # `systemctl reload lighterman`, except where a restart is named.\n",
    );
    for (section, keys) in by_section() {
        if let Some(section) = section {
            text += &format!("\n# {}\n[{}]\n", section.meaning, section.name);
        }
        for key in keys {
            text.push('\n');
            explanation(key).iter().for_each(|sentence| text += &wrapped(sentence));
            text += &format!("#{} = {}\n", key.name, key.example);
        }
    }
    text
}

/// The README's block: one line for each key.
#[must_use]
pub fn short() -> String {
    let mut text = String::new();
    for (section, keys) in by_section() {
        if let Some(section) = section {
            text += &format!("\n[{}]\n", section.name);
        }
        let width = keys.iter().map(|key| assignment(key).len()).max().unwrap_or_default();
        for key in keys {
            text += &format!("{:width$}  # {}\n", assignment(key), remark(key));
        }
    }
    text
}

/// What holds, as a file that says so again.
#[must_use]
pub fn shown(effective: &[Effective]) -> String {
    let line = |one: &Effective| match (&one.value, one.key.default) {
        (Some(value), _) => (format!("{} = {value}", one.key.name), one.origin.to_string()),
        (None, Fallback::Words(words)) => (format!("#{}", one.key.name), format!("{}: {words}", one.origin)),
        (None, Fallback::Value(_)) => (format!("#{}", one.key.name), one.origin.to_string()),
    };
    let width = effective.iter().map(|one| line(one).0.chars().count()).max().unwrap_or_default();
    let (mut text, mut section) = (String::new(), "");
    for one in effective {
        if one.key.section != section {
            section = one.key.section;
            text += &format!("\n[{section}]\n");
        }
        let (left, right) = line(one);
        text += &format!("{left:width$}  # {right}\n");
    }
    text
}

fn by_section() -> impl Iterator<Item = (Option<&'static Section>, Vec<&'static Key>)> {
    let of = |name: &str| KEYS.iter().filter(|key| key.section == name).collect();
    std::iter::once((None, of(""))).chain(SECTIONS.iter().map(move |section| (Some(section), of(section.name))))
}

/// With the default, or an example where that says nothing to somebody who reads it.
fn assignment(key: &Key) -> String {
    let value = match key.default {
        Fallback::Value(text) if !text.starts_with('[') => text,
        _ => key.example,
    };
    format!("{} = {value}", key.name)
}

/// What fits onto one line behind it.
fn remark(key: &Key) -> String {
    let choices = match key.accepts {
        Accepts::OneOf(choices) => format!(" ({})", choices.join(", ")),
        _ => String::new(),
    };
    let default = match key.default {
        Fallback::Words("none") | Fallback::Value(_) => String::new(),
        Fallback::Words(words) => format!("; by default {words}"),
    };
    let variable = key.variable.map(|name| format!("; {name}")).unwrap_or_default();
    format!("{}{choices}{default}{variable}", key.meaning)
}

/// Everything that the table says of a key, in sentences.
fn explanation(key: &Key) -> Vec<String> {
    let default = match key.default {
        Fallback::Value("[]") => "none",
        Fallback::Value(text) | Fallback::Words(text) => text,
    };
    let also = match (key.flag, key.variable) {
        (Some(flag), Some(variable)) => format!(" Also {flag} and {variable}."),
        (Some(one), None) | (None, Some(one)) => format!(" Also {one}."),
        (None, None) => String::new(),
    };
    let restart = if key.change == Change::Restart { " Needs a restart." } else { "" };
    vec![capital(key.meaning), format!("Takes {}. Default: {default}.{also}{restart}", key.accepts.words())]
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// A comment, in lines of bounded width.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
