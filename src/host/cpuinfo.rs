//! `/proc/cpuinfo`: text for people, and the last resort of detection.
//!
//! It can be masked, absent, or that of another machine (qemu-user passes the host's
//! text through), and on big.LITTLE each core tells its own story.

use std::io;

/// The text, or why there is none.
#[derive(Debug)]
pub(super) enum CpuInfo {
    /// What was read, perhaps only its beginning; empty where the file is masked by an empty one.
    Text(String),
    /// What opening or reading gave.
    Unreadable(io::Error),
}

impl CpuInfo {
    /// The first value of a key, spelt in any case, up to a second colon as containerd reads it.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.values(key).next()
    }

    /// The words that every core has under a key (`Features`).
    pub(super) fn common_words(&self, key: &str) -> Vec<&str> {
        let mut cores = self.values(key).map(|value| value.split_ascii_whitespace().collect::<Vec<_>>());
        let Some(first) = cores.next() else { return Vec::new() };
        cores.fold(first, |common, core| common.into_iter().filter(|word| core.contains(word)).collect())
    }

    /// The architecture of the CPU that the text describes, as far as its keys give it away.
    pub(super) fn architecture(&self) -> Option<&'static str> {
        if self.first("flags").is_some() && self.first("vendor_id").is_some() {
            return Some(if self.common_words("flags").contains(&"lm") { "amd64" } else { "386" });
        }
        if self.first("CPU implementer").is_some() {
            return Some(if self.first("CPU architecture") == Some("8") { "arm64" } else { "arm" });
        }
        if self.first("vendor_id").is_some_and(|vendor| vendor.starts_with("IBM/S390")) {
            return Some("s390x");
        }
        if self.first("isa").is_some_and(|isa| isa.starts_with("rv64")) {
            return Some("riscv64");
        }
        self.first("cpu").filter(|cpu| cpu.starts_with("POWER")).map(|_| "ppc64le")
    }

    /// The file is there and has nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let text = match self {
            Self::Text(text) => text.as_str(),
            Self::Unreadable(_) => "",
        };
        text.lines().filter_map(move |line| {
            let mut fields = line.split(':');
            let found = fields.next()?.trim().eq_ignore_ascii_case(key);
            let value = fields.next()?.trim();
            found.then_some(value)
        })
    }
}
