//! From the text of a file to values, past every mistake to the end.

use std::ops::Range;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::error::Mistake;
use super::keys::{self, KEYS, Key, SECTIONS};
use super::{FileConfig, nearest};

/// Bytes of a wrong value that are shown.
const SHOWN: usize = 60;

/// Reads a whole file: what it says, and what is wrong with it, from top to bottom.
pub(super) fn read(text: &str) -> (FileConfig, Vec<Mistake>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, config: FileConfig::default(), seen: Vec::new(), mistakes: Vec::new() };
    reader.top(root.get_ref());
    reader.pairs();
    reader.doubles();
    let Reader { config, mut mistakes, .. } = reader;
    // A line that is not TOML is one mistake, whatever its remains would mean.
    let broken: Vec<Mistake> = errors.iter().map(|error| syntax(text, error)).collect();
    mistakes.retain(|mistake| broken.iter().all(|other| other.line != mistake.line));
    mistakes.extend(broken);
    mistakes.sort();
    mistakes.dedup_by_key(|mistake| mistake.line);
    (config, mistakes)
}

struct Reader<'a> {
    text: &'a str,
    config: FileConfig,
    /// Keys that were set, and where.
    seen: Vec<(&'static Key, Range<usize>)>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let section = SECTIONS.iter().find(|section| section.name == name.get_ref());
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(table)) => self.section(section.name, table),
                (Some(section), _) => {
                    let hint = format!("write [{}] on a line of its own, and its keys below", section.name);
                    let other = nearest::key("", section.name).map(|other| format!("; or {other}"));
                    self.wrong(
                        value.span(),
                        format!("{} is a section", section.name),
                        Some(hint + &other.unwrap_or_default()),
                    );
                }
                (None, DeValue::Table(_)) if keys::find("", name.get_ref()).is_none() => {
                    let hint = nearest::section(name.get_ref());
                    self.wrong(name.span(), format!("there is no section [{}]", name.get_ref()), hint);
                }
                (None, found) => self.key("", (name.get_ref(), name.span()), (found, value.span())),
            }
        }
    }

    fn section(&mut self, section: &'static str, table: &DeTable<'_>) {
        for (name, value) in table {
            self.key(section, (name.get_ref(), name.span()), (value.get_ref(), value.span()));
        }
    }

    fn key(&mut self, section: &str, name: (&str, Range<usize>), value: (&DeValue<'_>, Range<usize>)) {
        let Some(key) = keys::find(section, name.0) else {
            let hint = nearest::key(section, name.0);
            return self.wrong(name.1, format!("there is no key {}", path(section, name.0)), hint);
        };
        self.seen.push((key, name.1));
        let plain = plain(value.0);
        let fits = plain.as_ref().is_some_and(|value| key.set(&mut self.config, value));
        if !fits {
            let found = self.text.get(value.1.clone()).unwrap_or_default();
            let why = plain.and_then(|value| key.accepts.objection(&value)).map(|why| format!(": {why}"));
            let message = format!("{} cannot be {}{}", key.path(), shortened(found), why.unwrap_or_default());
            let hint = format!("it has to be {}, as in {} = {}", key.accepts.words(), key.name, key.example);
            self.wrong(value.1, message, Some(hint));
        }
    }

    /// Keys that make no sense without each other.
    fn pairs(&mut self) {
        for (one, other) in [("tlscert", "tlskey"), ("tlskey", "tlscert")] {
            let place = |name: &str| self.seen.iter().find(|(key, _)| key.path() == name).map(|(_, span)| span.clone());
            if let (Some(span), None) = (place(one), place(other)) {
                let hint = keys::find("", other).map(|key| format!("add {other} = {}", key.example));
                self.wrong(span, format!("{one} is of no use without {other}"), hint);
            }
        }
    }

    /// Images that several lists are about.
    fn doubles(&mut self) {
        let config = &self.config;
        let lists = [
            ("refuse", config.mismatch_refuse.clone()),
            ("warn", config.mismatch_warn.clone()),
            ("allow", config.mismatch_allow.clone()),
        ];
        for (index, (name, list)) in lists.iter().enumerate() {
            for scope in list.iter().flatten() {
                let other = lists[..index].iter().find(|(_, other)| other.iter().flatten().any(|other| other == scope));
                let place = self.seen.iter().find(|(key, _)| (key.section, key.name) == ("arch-mismatch", name));
                if let (Some((other, _)), Some((_, span))) = (other, place.cloned()) {
                    let message = format!("{scope} is in arch-mismatch.{other} as well as in arch-mismatch.{name}");
                    self.wrong(span, message, Some("take it out of one of them".into()));
                }
            }
        }
    }

    fn wrong(&mut self, at: Range<usize>, message: String, hint: Option<String>) {
        let (line, column) = place(self.text, at.start);
        self.mistakes.push(Mistake { line, column, message, hint });
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Mistake {
    let (line, column) = place(text, error.span().unwrap_or_default().start);
    Mistake { line, column, message: format!("this is not TOML: {}", error.message()), hint: None }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// A value without its place; `None` for the types that no key has.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Array(list) => Value::Array(list.iter().map(|value| plain(value.get_ref())).collect::<Option<_>>()?),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

fn path(section: &str, name: &str) -> String {
    if section.is_empty() { name.into() } else { format!("{section}.{name}") }
}

/// A value for a message: on one line, and not too long.
fn shortened(value: &str) -> String {
    let one_line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match one_line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &one_line[..end]),
        None => one_line,
    }
}

/// The configuration in which every key has the default that the table gives it.
pub(super) fn defaults() -> FileConfig {
    let mut config = FileConfig::default();
    for key in KEYS {
        if let keys::Fallback::Value(text) = key.default
            && let Some(value) = value(text)
        {
            // A test holds that every default is one that its key takes.
            key.set(&mut config, &value);
        }
    }
    config
}

/// A single value, as the file has it.
pub(super) fn value(text: &str) -> Option<Value> {
    plain(DeValue::parse(text).ok()?.get_ref())
}
