//! The catalogue of findings: stable identifiers, and what belongs to each.

use serde::{Deserialize, Serialize};

use super::report::entry_text;
use crate::core::digest::Digest;

/// Something about an image or a node that one should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which.
    pub id: Id,
    /// How bad it is.
    pub severity: Severity,
    /// The entry of the index that it is about, positions from 0 joined by dots; `None` where it
    /// is about all of it, or about a lone manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The node that it is about; `None` where it holds everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What is wrong, one sentence or two.
    pub message: String,
    /// What shows it.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What can be done about it, best first.
    #[serde(default)]
    pub remedies: Vec<Remedy>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It may go wrong, or some clients fail.
    Warning,
    /// It will not run.
    Error,
}

impl Severity {
    /// Stable name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a finding rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What it is, in words: `e_machine of the ELF header: 40 (ARM)`.
    pub what: String,
    /// The document or layer that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The file in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where in the file, in bytes from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The bytes themselves, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The digest of what it comes from was checked. Where only the start of a layer was read,
    /// it was not.
    pub verified: bool,
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// What to do, and what it brings.
    pub text: String,
    /// Commands that do it, ready for a shell.
    #[serde(default)]
    pub commands: Vec<String>,
}

impl Remedy {
    /// One in words.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), commands: Vec::new() }
    }

    /// With a command, ready for a shell.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}

impl Finding {
    /// One about everything, without evidence or remedy.
    #[must_use]
    pub fn new(id: Id, severity: Severity, message: impl Into<String>) -> Self {
        let (evidence, remedies) = (Vec::new(), Vec::new());
        Self { id, severity, entry: None, node: None, message: message.into(), evidence, remedies }
    }

    /// About one entry of the index.
    #[must_use]
    pub fn at(mut self, path: &[usize]) -> Self {
        self.entry = entry_text(path);
        self
    }

    /// About one node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// With something that shows it.
    #[must_use]
    pub fn shown_by(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }

    /// With something to do about it.
    #[must_use]
    pub fn mended_by(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }
}

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal;)+) => {
        /// The identifier of a finding. Codes are never given another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Id {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $variant,)+
        }

        impl Id {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code, as in `PLAT-003`.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// What it stands for, one line.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

impl Id {
    /// It is about the image's files alone: where it is an error, the image runs nowhere. A program of
    /// another architecture than the one that starts it runs where both do.
    #[must_use]
    pub fn is_of_files(self) -> bool {
        self.code().starts_with("ELF-") && self != Self::OtherBinaryArch
    }
}

catalogue! {
    /// The image has nothing for this platform.
    NoMatch = "PLAT-001";
    /// The index declares another platform than the image's config.
    LabelVsConfig = "PLAT-002";
    /// The index declares another platform than the program is built for.
    LabelVsElf = "PLAT-003";
    /// The config names another platform than the program is built for.
    ConfigVsElf = "PLAT-004";
    /// Several entries are for the same platform.
    DuplicatePlatform = "PLAT-005";
    /// An entry for arm names no variant, which clients take for v7.
    VariantMissing = "PLAT-006";
    /// A variant that no client knows.
    VariantUnknown = "PLAT-007";
    /// The program needs a later variant than the node's CPU.
    VariantTooHigh = "PLAT-008";
    /// An entry without a platform.
    NoPlatform = "PLAT-009";
    /// An index inside the index.
    NestedIndex = "PLAT-010";
    /// A single-architecture image for another platform, which clients pull without a word.
    SingleArchMismatch = "PLAT-011";
    /// A 64-bit node would take a 32-bit image.
    Fallback32Bit = "PLAT-012";
    /// containerd matches with another architecture than the kernel's.
    HostUserlandSplit = "PLAT-013";
    /// The node has an image of the same name for another platform.
    CachedOtherArch = "PLAT-014";
    /// A mirror has fewer platforms than the registry.
    MirrorStripped = "PLAT-015";
    /// Nothing but attestations is left in the index.
    AttestationOnly = "PLAT-016";
    /// The program runs under an emulator.
    Emulated = "PLAT-017";
    /// The image is in the format of Docker schema 1.
    Schema1 = "PLAT-018";
    /// An emulator is registered and cannot be used.
    BinfmtBroken = "PLAT-019";
    /// The tag stands for different images at different hosts.
    TagRace = "PLAT-020";
    /// The name of the image speaks of another architecture than its contents.
    ArchSuffixName = "PLAT-021";
    /// The index was corrected, and the config was not.
    AnnotateOnly = "PLAT-022";
    /// The index lists no image at all.
    EmptyIndex = "PLAT-023";
    /// An image that the index lists cannot be had.
    ImageMissing = "PLAT-024";
    /// The program needs a higher x86-64 level than the node's CPU.
    X86Level = "ISA-001";
    /// The program needs extensions of ARMv8 that the node's CPU does not have.
    Arm64Level = "ISA-002";
    /// The program needs a later generation of CPU, or the other ABI of LoongArch.
    CpuGeneration = "ISA-003";
    /// The program's floating-point ABI does not fit the node.
    ArmFloatAbi = "ISA-004";
    /// The program's segments do not fit the node's page size.
    PageAlignment = "PAGE-001";
    /// The dynamic loader of the program is not in the image.
    LoaderMissing = "ELF-001";
    /// The dynamic loader is for another architecture than the program.
    LoaderArch = "ELF-002";
    /// A script that Linux cannot start.
    Script = "ELF-003";
    /// The program is not in the image.
    EntryNotFound = "ELF-004";
    /// The program cannot be executed.
    NotExecutable = "ELF-005";
    /// The file is an ELF object, and no program.
    WrongObjectType = "ELF-006";
    /// Another binary of the image is for another architecture.
    OtherBinaryArch = "ELF-007";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_titles_are_sentences() {
        let mut codes: Vec<&str> = Id::ALL.iter().map(|id| id.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Id::ALL.len());
        for id in Id::ALL {
            assert!(id.title().ends_with('.') && !id.title().contains('\n'), "{id:?}");
            assert_eq!(serde_json::json!(id), id.code());
        }
    }
}
