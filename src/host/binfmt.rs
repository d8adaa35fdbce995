//! Emulators that are registered in binfmt_misc.
//!
//! The kernel asks binfmt_misc before its own ELF loader, and the newest registration
//! first: where an enabled handler matches a program's header, the program is emulated,
//! whatever the CPU could do itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::arch;
use super::source::Source;

/// Where the kernel shows its registrations.
pub(super) const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";

/// More registrations than any node has; a bound on what is read.
const MOST_ENTRIES: usize = 256;

/// A registration is a few lines; magic and mask are 256 bytes each at the most.
const ENTRY_LIMIT: usize = 4096;

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emulator {
    /// Its name in binfmt_misc, `qemu-aarch64` for one.
    pub name: String,
    /// Whether the kernel uses it.
    pub enabled: bool,
    /// Path of the program that is started instead.
    pub interpreter: String,
    /// Whether that path exists here. With flag F the kernel holds the file open and does not need it.
    pub interpreter_exists: bool,
    /// Letters of P (keep argv\[0\]), O (open file), C (credentials), F (fixed: opened at registration).
    pub flags: String,
    /// Byte of the file at which `magic` is compared.
    pub offset: usize,
    /// What the file has to contain there.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub magic: Vec<u8>,
    /// Which bits of `magic` count; empty where all do.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex", default)]
    pub mask: Vec<u8>,
    /// The file name extension of a handler that goes by names; such a one never sees ELF headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Architectures (GOARCH) whose programs it takes.
    pub architectures: Vec<String>,
}

impl Emulator {
    /// The interpreter was opened when it was registered (flag F), so that it works
    /// in a container, whose root file system does not have it.
    #[must_use]
    pub fn usable_in_containers(&self) -> bool {
        self.flags.contains('F')
    }

    /// Whether the kernel hands a file that begins with `header` to it. Bytes behind
    /// the end count as 0, as in the kernel's buffer.
    #[must_use]
    pub fn matches(&self, header: &[u8]) -> bool {
        self.extension.is_none()
            && !self.magic.is_empty()
            && self.magic.iter().enumerate().all(|(at, magic)| {
                let byte = header.get(self.offset.saturating_add(at)).copied().unwrap_or(0);
                let mask = if self.mask.is_empty() { 0xff } else { self.mask.get(at).copied().unwrap_or(0) };
                (byte ^ magic) & mask == 0
            })
    }
}

/// What binfmt_misc shows.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// `None` where it cannot be seen; else whether it is enabled as a whole.
    pub(super) enabled: Option<bool>,
    /// Newest first.
    pub(super) emulators: Vec<Emulator>,
    /// Entries that could not be read or made no sense.
    pub(super) malformed: Vec<String>,
}

impl Registrations {
    /// Who gets a file of this architecture.
    pub(super) fn handler(&self, architecture: &str) -> Option<&Emulator> {
        if self.enabled != Some(true) {
            return None;
        }
        self.emulators
            .iter()
            .find(|emulator| emulator.enabled && emulator.architectures.iter().any(|a| a == architecture))
    }
}

/// Reads every registration.
pub(super) fn read(source: &dyn Source) -> Registrations {
    let status = source.read(&format!("{DIRECTORY}/status"), ENTRY_LIMIT);
    let names = source.list(DIRECTORY);
    let (Ok(status), Ok(names)) = (status, names) else { return Registrations::default() };
    let mut registrations = Registrations { enabled: Some(status.trim() == "enabled"), ..Registrations::default() };
    let entries = names.into_iter().filter(|name| !matches!(name.as_str(), "register" | "status" | "." | ".."));
    for name in entries.take(MOST_ENTRIES) {
        let text = source.read(&format!("{DIRECTORY}/{name}"), ENTRY_LIMIT).unwrap_or_default();
        match parse(&name, &text) {
            Some(emulator) => {
                let interpreter_exists = source.exists(&emulator.interpreter);
                registrations.emulators.push(Emulator { interpreter_exists, ..emulator });
            }
            None => registrations.malformed.push(name),
        }
    }
    registrations
}

/// One file of binfmt_misc; `None` where it is not one.
pub(super) fn parse(name: &str, text: &str) -> Option<Emulator> {
    let mut lines = text.lines();
    let enabled = match lines.next()? {
        "enabled" => true,
        "disabled" => false,
        _ => return None,
    };
    let mut emulator = Emulator {
        name: name.into(),
        enabled,
        interpreter: String::new(),
        interpreter_exists: false,
        flags: String::new(),
        offset: 0,
        magic: Vec::new(),
        mask: Vec::new(),
        extension: None,
        architectures: Vec::new(),
    };
    for line in lines {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("interpreter", path) => emulator.interpreter = path.into(),
            ("flags:", flags) => emulator.flags = flags.trim().into(),
            ("offset", number) => emulator.offset = number.parse().ok()?,
            ("magic", hex) => emulator.magic = arch::decode_hex(hex)?,
            ("mask", hex) => emulator.mask = arch::decode_hex(hex)?,
            ("extension", extension) => emulator.extension = Some(extension.into()),
            // A later kernel may add lines.
            _ => {}
        }
    }
    let complete = emulator.extension.is_some() || !emulator.magic.is_empty();
    if emulator.interpreter.is_empty() || !complete {
        return None;
    }
    let taken = arch::elf_headers().filter(|(_, header)| emulator.matches(header));
    emulator.architectures = taken.map(|(architecture, _)| architecture.into()).collect();
    Some(emulator)
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}", Hex(bytes)))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    arch::decode_hex(&text).ok_or_else(|| de::Error::custom("expected hexadecimal digits"))
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
