//! From a value as the file has it to the type that the program works with, and back.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use toml::Value;

use super::{OnError, units};
use crate::core::duration;
use crate::core::mismatch::{Action, Scope};
use crate::telemetry::Format;
use crate::unpack::options::{Extractor, Start};

/// A type that a key may have.
pub(super) trait Setting: Sized {
    /// Reads a value; `None` where it is not one of this type.
    fn read(value: &Value) -> Option<Self>;

    /// As the file would have it.
    fn write(&self) -> Value;
}

impl Setting for String {
    fn read(value: &Value) -> Option<Self> {
        value.as_str().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Option<Self> {
        let text = String::read(value)?;
        // kubelet and crictl write sockets so.
        Some(text.strip_prefix("unix://").unwrap_or(&text).into())
    }

    fn write(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// A list; one value stands for a list of it.
impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Array(list) => list.iter().map(T::read).collect(),
            one => T::read(one).map(|one| vec![one]),
        }
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect())
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for usize {
    fn read(value: &Value) -> Option<Self> {
        Self::try_from(value.as_integer()?).ok().filter(|number| *number > 0)
    }

    fn write(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

/// Bytes per second.
impl Setting for NonZeroU64 {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => units::rate(text),
            Value::Integer(number) => u64::try_from(*number).ok().and_then(Self::new),
            _ => None,
        }
    }

    fn write(&self) -> Value {
        Value::String(units::size(self.get()))
    }
}

/// Bytes of memory.
impl Setting for u32 {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => units::memory(text),
            Value::Integer(number) => units::within_memory(u64::try_from(*number).ok()?),
            _ => None,
        }
    }

    fn write(&self) -> Value {
        Value::String(units::size((*self).into()))
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Option<Self> {
        duration::parse(value.as_str()?)
    }

    fn write(&self) -> Value {
        Value::String(duration::format(*self))
    }
}

impl Setting for Action {
    fn read(value: &Value) -> Option<Self> {
        Self::from_name(value.as_str()?)
    }

    fn write(&self) -> Value {
        Value::String(self.name().into())
    }
}

impl Setting for Scope {
    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?).ok()
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

macro_rules! named {
    ($($choice:ty),*) => {$(
        impl Setting for $choice {
            fn read(value: &Value) -> Option<Self> {
                Self::from_str(value.as_str()?, false).ok()
            }

            fn write(&self) -> Value {
                let name = self.to_possible_value().map(|value| value.get_name().to_owned());
                Value::String(name.unwrap_or_default())
            }
        }
    )*};
}

named!(Format, Start, Extractor, OnError);
