//! Platforms: what a manifest is for, and what a host is.
//!
//! Normalisation, parsing and formatting follow containerd's `platforms` package
//! to the letter, because containerd applies its own rules again when it looks up
//! what we landed. Names beyond its tables (`armv7l`, `ppc64el`) are understood in
//! what a person types, never in what a document declares.
//!
//! Specification: OCI image-spec, image-index.md, "platform"; containerd/platforms 1.0.

mod matcher;
mod variants;
mod windows;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

pub use matcher::Matcher;
pub use variants::{ArchitectureProblem, VariantProblem, architecture_problem, variant_problem};

use super::error::{Classify, Kind};
use super::text::{LONGEST_WORD, is_word};

/// Operating system, architecture and variant, spelt as they were declared.
///
/// Two spellings of one platform compare equal only after [`Platform::normalized`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, … (Go's GOOS).
    #[serde(default, deserialize_with = "word")]
    pub os: String,
    /// `amd64`, `arm64`, `arm`, … (Go's GOARCH).
    #[serde(default, deserialize_with = "word")]
    pub architecture: String,
    /// `v7` of arm, `v3` of amd64; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "word")]
    pub variant: String,
    /// Version of the operating system; only Windows images use it.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty", deserialize_with = "word")]
    pub os_version: String,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty", deserialize_with = "words")]
    pub os_features: Vec<String>,
}

/// Reads `null` as if nothing was said, which Go's clients do.
pub(super) fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a name that is shown wherever platforms are; `null` as if nothing was said.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fit(null_is_default(deserializer)?)
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all: Vec<String> = null_is_default(deserializer)?;
    all.into_iter().map(fit).collect()
}

fn fit<E: serde::de::Error>(text: String) -> Result<String, E> {
    if is_word(&text) {
        return Ok(text);
    }
    Err(E::custom(format_args!("a platform's name of more than {LONGEST_WORD} bytes, or of letters that none has")))
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Empty, a wildcard, too many slashes, or a character that no platform has.
    #[error("{0:?} is not a platform: expected OS/ARCH[/VARIANT], as in linux/arm64 or linux/arm/v7")]
    Malformed(String),
    /// One word that is neither an operating system nor an architecture.
    #[error("{0:?} is neither an operating system nor an architecture that is known")]
    Unknown(String),
}

impl Classify for PlatformError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        Some("platforms look like linux/amd64, linux/arm64, linux/arm/v7 or linux/amd64/v3".into())
    }
}

impl Platform {
    /// A platform of Linux; `variant` may be empty.
    #[must_use]
    pub fn linux(architecture: &str, variant: &str) -> Self {
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into(), ..Self::default() }
    }

    /// Reads a specifier as containerd's `Parse` does: `OS`, `ARCH`, `OS/ARCH` or
    /// `OS/ARCH/VARIANT`, where `OS` may carry `(VERSION+FEATURE…)`.
    ///
    /// `local` fills in what is left out. Names that `uname -m` and distributions use
    /// (`armv7l`, `i686`, `ppc64el`) are accepted as well.
    ///
    /// # Errors
    /// [`PlatformError`] where the text is no platform.
    pub fn parse(specifier: &str, local: &Self) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(specifier.into());
        let parts: Vec<&str> = specifier.splitn(4, '/').collect();
        let (os, options) = split_os_options(parts[0]).ok_or_else(malformed)?;
        if parts[1..].iter().any(|part| !is_component(part)) {
            return Err(malformed());
        }
        let mut platform = Self { os: normalize_os(os).into_owned(), ..Self::default() };
        if let Some(options) = options {
            (platform.os_version, platform.os_features) = parse_os_options(options).ok_or_else(malformed)?;
        }
        match parts[1..] {
            [] if is_known_os(&platform.os) => {
                platform.architecture.clone_from(&local.architecture);
                if local.architecture == "arm" && local.variant != "v7" {
                    platform.variant.clone_from(&local.variant);
                }
            }
            [] => {
                (platform.architecture, platform.variant) = without_default_variant(parse_arch(parts[0], ""));
                if !is_known_arch(&platform.architecture) {
                    return Err(PlatformError::Unknown(specifier.into()));
                }
                platform.os.clone_from(&local.os);
            }
            [arch] => (platform.architecture, platform.variant) = without_default_variant(parse_arch(arch, "")),
            [arch, variant] => {
                (platform.architecture, platform.variant) = parse_arch(arch, variant);
                if platform.architecture == "arm64" && platform.variant.is_empty() {
                    platform.variant = "v8".into();
                }
            }
            _ => return Err(malformed()),
        }
        Ok(platform)
    }

    /// The canonical spelling, as containerd's `Normalize`: `aarch64` is `arm64`, bare
    /// `arm` is `arm/v7`, `arm64/v8` is `arm64`; unknown names stay as they are.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normalize_arch(&self.architecture, &self.variant);
        let mut os_features = self.os_features.clone();
        os_features.sort();
        os_features.dedup();
        Self {
            os: normalize_os(&self.os).into_owned(),
            architecture,
            variant,
            os_version: self.os_version.clone(),
            os_features,
        }
    }

    /// BuildKit's `unknown/unknown`, which marks an entry that is no image.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Operating system, architecture and variant agree once both are normalised.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let (a, b) = (self.normalized(), other.normalized());
        a.os == b.os && a.architecture == b.architecture && a.variant == b.variant
    }

    /// `arch` or `arch/variant`, without the operating system.
    #[must_use]
    pub fn arch(&self) -> String {
        join(&[&self.architecture, &self.variant])
    }
}

impl fmt::Display for Platform {
    /// containerd's `FormatAll`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        let mut features: Vec<&str> =
            self.os_features.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        features.sort_unstable();
        features.dedup();
        let mut os = self.os.clone();
        if !self.os_version.is_empty() || !features.is_empty() {
            os.push('(');
            os.push_str(&encode_os_option(&self.os_version));
            for feature in features {
                os.push('+');
                os.push_str(&encode_os_option(feature));
            }
            os.push(')');
        }
        f.write_str(&join(&[&os, &self.architecture, &self.variant]))
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
}

/// containerd's `normalizeArch`, its whole table.
fn normalize_arch(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_lowercase();
    let variant = variant.to_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.into(), variant.into())
}

fn normalize_os(os: &str) -> Cow<'static, str> {
    match os.to_lowercase().as_str() {
        "" => Cow::Borrowed("linux"),
        "macos" => Cow::Borrowed("darwin"),
        other => Cow::Owned(other.into()),
    }
}

/// What a person typed: containerd's names, then those of `uname -m` and distributions.
fn parse_arch(architecture: &str, variant: &str) -> (String, String) {
    let (normal, normal_variant) = normalize_arch(architecture, variant);
    let alias = match normal.as_str() {
        "armv5l" | "armv5tel" | "armv5tejl" => ("arm", "v5"),
        "armv6l" => ("arm", "v6"),
        "armv7l" => ("arm", "v7"),
        "armv8l" => ("arm", "v8"),
        "x86" | "i486" | "i586" | "i686" => ("386", ""),
        "aarch64_be" => ("arm64be", ""),
        "loongarch64" => ("loong64", ""),
        "powerpc64le" | "ppc64el" => ("ppc64le", ""),
        "powerpc64" => ("ppc64", ""),
        "mips64el" => ("mips64le", ""),
        "mipsel" => ("mipsle", ""),
        "riscv64gc" => ("riscv64", ""),
        _ => return (normal, normal_variant),
    };
    let variant = if normal_variant.is_empty() { alias.1.into() } else { normal_variant };
    (alias.0.into(), variant)
}

/// A two-part specifier leaves arm's default variant unwritten, as containerd does.
fn without_default_variant((architecture, variant): (String, String)) -> (String, String) {
    let variant = if architecture == "arm" && variant == "v7" { String::new() } else { variant };
    (architecture, variant)
}

fn is_component(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Splits `windows(10.0.17763+win32k)` into the name and what is in the brackets.
fn split_os_options(text: &str) -> Option<(&str, Option<&str>)> {
    let (os, options) = match text.split_once('(') {
        Some((os, rest)) => (os, Some(rest.strip_suffix(')')?)),
        None => (text, None),
    };
    let well_formed = !os.is_empty() && os.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    well_formed.then_some((os, options))
}

fn parse_os_options(text: &str) -> Option<(String, Vec<String>)> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'%' | b'-' | b'+');
    if !text.bytes().all(valid) {
        return None;
    }
    let mut parts = text.split('+');
    let version = decode_os_option(parts.next().unwrap_or_default())?;
    let features =
        parts.map(|part| if part.is_empty() { None } else { decode_os_option(part) }).collect::<Option<_>>()?;
    Some((version, features))
}

fn encode_os_option(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace('(', "%28").replace(')', "%29").replace('/', "%2F")
}

fn decode_os_option(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_known_os(os: &str) -> bool {
    const KNOWN: [&str; 17] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
        "zos",
    ];
    KNOWN.contains(&os)
}

/// Go's names, which are those of the OCI specification.
const KNOWN_ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

fn is_known_arch(architecture: &str) -> bool {
    KNOWN_ARCHITECTURES.contains(&architecture)
}

#[cfg(test)]
mod tests;
