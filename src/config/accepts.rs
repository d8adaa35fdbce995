//! What a key takes: said in words, and checked.

use std::net::SocketAddr;
use std::path::Path;

use toml::Value;

use super::setting::Setting;
use super::units;
use crate::core::mismatch::Scope;
use crate::core::reference::Reference;

/// Bytes that the address of a Unix socket may have; the kernel's `sun_path` has 108, with the zero.
const SOCKET_PATH: usize = 107;

/// The values that a key takes. Its type is checked by `Setting`; this is what else has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Any text that is not empty.
    Text,
    /// One or several of them.
    Texts,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// From 1.
    Count,
    /// Bytes per second.
    Rate,
    /// Bytes of memory.
    Memory,
    /// A time with its unit.
    Duration,
    /// A file or directory.
    Path,
    /// One or several of them.
    Paths,
    /// The path of a Unix socket.
    Socket,
    /// One or several addresses of this machine alone, with ports.
    Loopback,
    /// A group of users.
    Group,
    /// A registry, as references name it.
    Registry,
    /// One or several of them.
    Registries,
    /// One or several registries or repositories.
    Scopes,
}

impl Accepts {
    /// In words, to follow "it has to be".
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Texts => "a text or a list of texts".into(),
            Self::OneOf(names) => format!("one of {}", names.join(", ")),
            Self::Flag => "true or false".into(),
            Self::Count => "a number of at least 1".into(),
            Self::Rate => units::RATE.into(),
            Self::Memory => units::MEMORY.into(),
            Self::Duration => "a time with its unit, as in 90s, 5m or 1h30m".into(),
            Self::Path => "a path".into(),
            Self::Paths => "a path or a list of paths".into(),
            Self::Socket => format!("the full path of a socket, of at most {SOCKET_PATH} bytes"),
            Self::Loopback => {
                "an address of this machine alone with a port, as in 127.0.0.1:5000 or [::1]:5000, or a list of them"
                    .into()
            }
            Self::Group => "the name of a group".into(),
            Self::Registry => "a registry as references name it, HOST or HOST:PORT".into(),
            Self::Registries => "a registry as references name it, HOST or HOST:PORT, or a list of them".into(),
            Self::Scopes => {
                "a registry or repository spelt in full, as in docker.io or docker.io/library/busybox, or a list of them"
                    .into()
            }
        }
    }

    /// What is wrong with a value that is not taken, where there is more to say than what is.
    pub(super) fn objection(self, value: &Value) -> Option<String> {
        let texts = Vec::<String>::read(value).filter(|_| self == Self::Scopes)?;
        texts.iter().find_map(|text| Scope::parse(text).err()).map(|error| error.to_string())
    }

    /// Whether a value of the right type may be taken.
    pub(super) fn allows(self, value: &Value) -> bool {
        let all = |rule: fn(&str) -> bool| {
            Vec::<String>::read(value).is_some_and(|texts| texts.iter().all(|text| rule(text)))
        };
        match self {
            Self::OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
            Self::Socket => all(is_socket),
            Self::Loopback => all(is_loopback),
            Self::Group => all(is_group),
            Self::Registry | Self::Registries => all(is_registry),
            Self::Text | Self::Texts | Self::Flag | Self::Count | Self::Rate | Self::Memory => true,
            Self::Duration | Self::Path | Self::Paths | Self::Scopes => true,
        }
    }
}

fn is_socket(text: &str) -> bool {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    path.len() <= SOCKET_PATH && Path::new(path).is_absolute() && !path.ends_with('/')
}

/// Port 0 would be another one at every start, which nobody could be told.
fn is_loopback(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback() && address.port() != 0)
}

fn is_group(text: &str) -> bool {
    // What groupadd(8) takes, and numbers.
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    first && text.len() <= 32 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn is_registry(text: &str) -> bool {
    format!("{text}/x").parse::<Reference>().is_ok_and(|reference| reference.registry() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_makes_sense_alone() {
        let cases = [
            (Accepts::OneOf(&["a", "b"]), "b", true),
            (Accepts::OneOf(&["a", "b"]), "B", false),
            (Accepts::Socket, "/run/lighterman/lighterman.sock", true),
            (Accepts::Socket, "unix:///run/containerd/containerd.sock", true),
            (Accepts::Socket, "run/lighterman.sock", false),
            (Accepts::Socket, "/run/lighterman/", false),
            (Accepts::Socket, "tcp://127.0.0.1:80", false),
            (Accepts::Loopback, "127.0.0.1:5000", true),
            (Accepts::Loopback, "127.1.2.3:80", true),
            (Accepts::Loopback, "[::1]:5000", true),
            (Accepts::Loopback, "127.0.0.1", false),
            (Accepts::Loopback, "127.0.0.1:0", false),
            (Accepts::Loopback, "0.0.0.0:5000", false),
            (Accepts::Loopback, "10.0.0.1:5000", false),
            (Accepts::Loopback, "localhost:5000", false),
            (Accepts::Group, "lighterman", true),
            (Accepts::Group, "1001", true),
            (Accepts::Group, "root:root", false),
            (Accepts::Group, "-x", false),
            (Accepts::Registry, "docker.io", true),
            (Accepts::Registry, "registry.example:5000", true),
            (Accepts::Registry, "10.1.2.3:5000", true),
            (Accepts::Registry, "localhost", true),
            (Accepts::Registry, "library", false),
            (Accepts::Registry, "https://docker.io", false),
            (Accepts::Registry, "docker.io/library", false),
        ];
        for (accepts, text, expected) in cases {
            assert_eq!(accepts.allows(&Value::String(text.into())), expected, "{accepts:?} {text}");
        }
        assert!(!Accepts::Socket.allows(&Value::String(format!("/{}", "x".repeat(SOCKET_PATH)))));
        let list = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::String((*text).into())).collect());
        assert!(Accepts::Loopback.allows(&list(&["127.0.0.1:1", "[::1]:1"])));
        assert!(!Accepts::Loopback.allows(&list(&["127.0.0.1:1", "192.168.0.1:1"])));
    }
}
