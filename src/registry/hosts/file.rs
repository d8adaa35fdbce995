//! Reading `hosts.toml`.
//!
//! Keys that we do not know are warned about and otherwise ignored, since containerd adds
//! some from time to time. Everything else that is wrong is an error with its line.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use toml::{Spanned, Value};

use super::{Capabilities, Endpoint, Entry, HostsError, Identity, PathRule, Pem, pem};
use crate::core::duration;

const HOST_KEYS: [&str; 7] = ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];

/// The entries of the file at `path`: its host tables in order, then the root.
pub(super) fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, HostsError> {
    let reader = Reader { path, text: std::str::from_utf8(bytes).map_err(|error| utf8(path, bytes, error))? };
    // The root is an entry of its own; reading it separately keeps the two structures flat.
    let root: Root = reader.parse()?;
    let server: Table = reader.parse()?;
    reader.warn_unknown()?;
    let mut entries = Vec::new();
    for (name, table) in root.host.0 {
        let rule = table.path_rule();
        let endpoint = reader.endpoint(&name, rule)?;
        entries.push(Entry { endpoint: Some(endpoint), is_mirror: true, ..reader.entry(table)? });
    }
    let endpoint = match root.server.filter(|server| !server.get_ref().is_empty()) {
        Some(text) => Some(reader.endpoint(&text, server.path_rule())?),
        None => None,
    };
    entries.push(Entry { endpoint, ..reader.entry(server)? });
    Ok(entries)
}

#[derive(serde::Deserialize)]
struct Root {
    server: Option<Spanned<String>>,
    #[serde(default)]
    host: HostTables,
}

/// The `[host."…"]` tables, in the order of the file, which is the order of trying.
#[derive(Default)]
struct HostTables(Vec<(Spanned<String>, Table)>);

impl<'de> Deserialize<'de> for HostTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = HostTables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables called [host.\"URL\"]")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<HostTables, M::Error> {
                let mut tables = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    tables.push(entry);
                }
                Ok(HostTables(tables))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(serde::Deserialize)]
struct Table {
    #[serde(default)]
    capabilities: Vec<Spanned<String>>,
    ca: Option<Spanned<Value>>,
    client: Option<Spanned<Value>>,
    skip_verify: Option<bool>,
    header: Option<Spanned<toml::Table>>,
    override_path: Option<bool>,
    dial_timeout: Option<Spanned<String>>,
}

impl Table {
    fn path_rule(&self) -> PathRule {
        if self.override_path == Some(true) { PathRule::AsGiven } else { PathRule::Standard }
    }
}

/// The file, for messages that name its lines and for paths relative to it.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, HostsError> {
        toml::from_str(self.text)
            .map_err(|error| self.malformed(error.span().unwrap_or(0..0), error.message().to_owned()))
    }

    fn malformed(&self, at: Range<usize>, problem: String) -> HostsError {
        HostsError::Malformed { path: self.path.into(), line: line(self.text.as_bytes(), at.start), problem }
    }

    fn endpoint(&self, text: &Spanned<String>, rule: PathRule) -> Result<Endpoint, HostsError> {
        Endpoint::parse(text.get_ref(), rule)
            .map_err(|problem| self.malformed(text.span(), format!("{:?}: {problem}", super::redacted(text.get_ref()))))
    }

    fn entry(&self, table: Table) -> Result<Entry, HostsError> {
        Ok(Entry {
            endpoint: None,
            is_mirror: false,
            capabilities: self.capabilities(&table.capabilities)?,
            headers: table.header.map(|header| self.headers(&header)).transpose()?.unwrap_or_default(),
            authorities: table.ca.map(|ca| self.authorities(&ca)).transpose()?.unwrap_or_default(),
            identities: table.client.map(|client| self.identities(&client)).transpose()?.unwrap_or_default(),
            skip_verify: table.skip_verify,
            dial_timeout: match table.dial_timeout.filter(|text| !text.get_ref().is_empty()) {
                Some(text) => {
                    let problem = || format!("dial_timeout {:?} is not a duration such as 3s or 500ms", text.get_ref());
                    let timeout =
                        duration::parse(text.get_ref()).ok_or_else(|| self.malformed(text.span(), problem()))?;
                    // To Go's dialer, zero means no bound of its own.
                    Some(timeout).filter(|timeout| !timeout.is_zero())
                }
                None => None,
            },
        })
    }

    fn capabilities(&self, names: &[Spanned<String>]) -> Result<Option<Capabilities>, HostsError> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut found = Capabilities { pull: false, resolve: false, push: false, referrers: false };
        for name in names {
            match name.get_ref().to_lowercase().as_str() {
                "pull" => found.pull = true,
                "resolve" => found.resolve = true,
                "push" => found.push = true,
                "referrers" => found.referrers = true,
                _ => {
                    let known = "pull, resolve, push and referrers";
                    let problem = format!("unknown capability {:?}; there are {known}", name.get_ref());
                    return Err(self.malformed(name.span(), problem));
                }
            }
        }
        Ok(Some(found))
    }

    fn headers(&self, table: &Spanned<toml::Table>) -> Result<HeaderMap, HostsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in table.get_ref() {
            let bad = |what: &str| self.malformed(table.span(), format!("header {name:?} {what}"));
            let key: HeaderName = name.parse().map_err(|_| bad("is not a header name"))?;
            for text in strings(value).ok_or_else(|| bad("must be a string or a list of strings"))? {
                let mut value = HeaderValue::from_str(text).map_err(|_| bad("has a value that no header can have"))?;
                value.set_sensitive(true);
                headers.append(key.clone(), value);
            }
        }
        Ok(headers)
    }

    fn authorities(&self, value: &Spanned<Value>) -> Result<Vec<Pem>, HostsError> {
        let problem = || self.malformed(value.span(), "ca must be a file name or a list of them".into());
        strings(value.get_ref()).ok_or_else(problem)?.into_iter().map(|name| self.file(name)).collect()
    }

    fn identities(&self, value: &Spanned<Value>) -> Result<Vec<Identity>, HostsError> {
        let bad = || {
            let problem = "client must be a file name, a list of them, or a list of [certificate, key] pairs";
            self.malformed(value.span(), problem.into())
        };
        let single = std::slice::from_ref(value.get_ref());
        let items = match value.get_ref() {
            Value::Array(items) => items.as_slice(),
            _ => single,
        };
        items
            .iter()
            .map(|item| match (item, strings(item).as_deref()) {
                (Value::String(both), _) => {
                    let certificate = self.file(both)?;
                    Ok(Identity { key: certificate.clone(), certificate })
                }
                (_, Some([certificate, key])) => {
                    Ok(Identity { certificate: self.file(certificate)?, key: self.file(key)? })
                }
                _ => Err(bad()),
            })
            .collect()
    }

    /// Relative names are relative to the file.
    fn file(&self, name: &str) -> Result<Pem, HostsError> {
        pem(&self.path.parent().unwrap_or(Path::new("")).join(name))
    }

    fn warn_unknown(&self) -> Result<(), HostsError> {
        let root: toml::Table = self.parse()?;
        let hosts = root.get("host").and_then(Value::as_table).into_iter().flatten();
        let in_hosts = hosts.filter_map(|(_, table)| table.as_table()).flatten().map(|(key, _)| key);
        let in_root = root.iter().map(|(key, _)| key).filter(|key| !matches!(key.as_str(), "server" | "host"));
        for key in in_root.chain(in_hosts).filter(|key| !HOST_KEYS.contains(&key.as_str())) {
            tracing::warn!(file = %self.path.display(), key, "unknown key ignored");
        }
        Ok(())
    }
}

/// A string or a list of strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn utf8(path: &Path, bytes: &[u8], error: std::str::Utf8Error) -> HostsError {
    HostsError::Malformed { path: path.into(), line: line(bytes, error.valid_up_to()), problem: "not UTF-8".into() }
}

/// The line of a byte, from 1.
fn line(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
