//! Keys that are one thing to some readers and another to others.
//!
//! Go's `encoding/json`, and with it containerd, takes a key for a field whatever the case of its
//! letters, and of several such keys the last one. Readers that compare exactly see another
//! document in the same bytes: another list of manifests, another digest in one entry, another
//! program that starts. There is no right reading then, so such documents are refused, whether or
//! not the field is there under its own name as well. Keys that are no field to anybody are fine,
//! and so are annotations, labels and the like, which are names to everybody.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What an object is, and so which of its keys are fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An index or a manifest.
    Document,
    /// A pointer to content.
    Descriptor,
    /// Where content runs.
    Platform,
    /// An image config.
    Config,
    /// Its layers.
    RootFs,
    /// How it starts.
    Run,
    /// Anything else: nobody looks for fields in it.
    Free,
}

/// A field, and what is below it.
type Field = (&'static str, Shape);

const DOCUMENT: &[Field] = &[
    ("schemaVersion", Shape::Free),
    ("mediaType", Shape::Free),
    ("artifactType", Shape::Free),
    ("manifests", Shape::Descriptor),
    ("config", Shape::Descriptor),
    ("layers", Shape::Descriptor),
    ("fsLayers", Shape::Free),
    ("subject", Shape::Descriptor),
    ("annotations", Shape::Free),
];
const DESCRIPTOR: &[Field] = &[
    ("mediaType", Shape::Free),
    ("digest", Shape::Free),
    ("size", Shape::Free),
    ("urls", Shape::Free),
    ("annotations", Shape::Free),
    ("data", Shape::Free),
    ("platform", Shape::Platform),
    ("artifactType", Shape::Free),
];
const PLATFORM: &[Field] = &[
    ("architecture", Shape::Free),
    ("os", Shape::Free),
    ("os.version", Shape::Free),
    ("os.features", Shape::Free),
    ("variant", Shape::Free),
];
const CONFIG: &[Field] = &[
    ("architecture", Shape::Free),
    ("os", Shape::Free),
    ("os.version", Shape::Free),
    ("os.features", Shape::Free),
    ("variant", Shape::Free),
    ("created", Shape::Free),
    ("author", Shape::Free),
    ("config", Shape::Run),
    ("rootfs", Shape::RootFs),
    ("history", Shape::Free),
];
const ROOTFS: &[Field] = &[("type", Shape::Free), ("diff_ids", Shape::Free)];
const RUN: &[Field] = &[
    ("User", Shape::Free),
    ("ExposedPorts", Shape::Free),
    ("Env", Shape::Free),
    ("Entrypoint", Shape::Free),
    ("Cmd", Shape::Free),
    ("Volumes", Shape::Free),
    ("WorkingDir", Shape::Free),
    ("Labels", Shape::Free),
    ("StopSignal", Shape::Free),
    ("ArgsEscaped", Shape::Free),
];

impl Shape {
    /// The fields that the specification gives it.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Document => DOCUMENT,
            Self::Descriptor => DESCRIPTOR,
            Self::Platform => PLATFORM,
            Self::Config => CONFIG,
            Self::RootFs => ROOTFS,
            Self::Run => RUN,
            Self::Free => &[],
        }
    }

    /// The field that a reader in Go takes `key` for, by its number.
    fn field(self, key: &str) -> Option<usize> {
        self.fields().iter().position(|(name, _)| key.chars().map(folded).eq(name.chars().map(folded)))
    }
}

/// A letter as Go's `encoding/json` compares it with one of ASCII: without case, and two letters
/// beyond ASCII have one of ASCII as their other case.
fn folded(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    }
}

/// Why keys do not have one meaning.
#[derive(Debug)]
pub(super) enum Fault {
    /// A field to some readers only.
    Odd { key: String, known: &'static str },
    /// A field that is there twice.
    Repeated(&'static str),
    /// Not JSON.
    Json(serde_json::Error),
}

/// Looks at every key of `bytes` that is, or may be taken for, a field.
pub(super) fn check(bytes: &[u8], shape: Shape) -> Result<(), Fault> {
    let mut found = None;
    let looked = Look { shape, found: &mut found }.deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    match (found, looked) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(Fault::Json(error)),
        (None, Ok(())) => Ok(()),
    }
}

/// Goes through one value.
struct Look<'a> {
    shape: Shape,
    found: &'a mut Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.shape == Shape::Free {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Look { shape: self.shape, found: self.found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = 0_u32;
        while let Some(key) = object.next_key::<Cow<'_, str>>()? {
            let Some(number) = self.shape.field(&key) else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            let (known, below) = self.shape.fields()[number];
            if key != known {
                *self.found = Some(Fault::Odd { key: key.into_owned(), known });
            } else if seen & (1 << number) != 0 {
                *self.found = Some(Fault::Repeated(known));
            }
            if self.found.is_some() {
                return Err(A::Error::custom("its keys have two meanings"));
            }
            seen |= 1 << number;
            object.next_value_seed(Look { shape: below, found: self.found })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
