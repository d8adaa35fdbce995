//! Whose request this is part of: the trace context that callers send along.
//!
//! Specification: W3C Trace Context, level 1, section 3.2 (`traceparent`). It says to ignore
//! a header that breaks its rules, and to start anew: so there is no error here.

use std::fmt;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A caller's place in a trace.
///
/// ```
/// use lighterman::core::trace::TraceContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(text).expect("is well formed");
/// assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(context.to_string(), text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` where it breaks a rule of its version, or of all versions.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let version = hex(text.get(..2)?)?;
        // 255 is reserved; later versions may only add to what version 00 has.
        let fits = match version {
            0 => text.len() == LENGTH,
            255 => false,
            _ => text.len() == LENGTH || text.as_bytes().get(LENGTH) == Some(&b'-'),
        };
        if !fits {
            return None;
        }
        let mut fields = text.get(2..LENGTH)?.strip_prefix('-')?.splitn(3, '-');
        let (trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if (trace.len(), parent.len(), flags.len()) != (32, 16, 2) {
            return None;
        }
        let (trace, parent) = (hex(trace)?, u64::try_from(hex(parent)?).ok()?);
        let context = Self { trace, parent, flags: u8::try_from(hex(flags)?).ok()? };
        (trace != 0 && parent != 0).then_some(context)
    }

    /// The trace, in 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The caller's span, in 16 hexadecimal digits.
    #[must_use]
    pub fn parent_id(&self) -> String {
        format!("{:016x}", self.parent)
    }
}

/// As a `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

/// Lower-case digits only: the specification forbids the others.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn takes_what_the_specification_takes() {
        let good = [
            format!("00-{TRACE}-{PARENT}-00"),
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-ff"),
            format!("01-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-what-comes-later"),
            format!("fe-{TRACE}-{PARENT}-01-"),
        ];
        for text in good {
            let context = TraceContext::parse(&text).unwrap_or_else(|| panic!("{text} was refused"));
            assert_eq!((context.trace_id().as_str(), context.parent_id().as_str()), (TRACE, PARENT), "{text}");
            assert_eq!(context.to_string()[2..], text[2..LENGTH]);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let (zeros, short) = ("0".repeat(32), "0".repeat(16));
        let bad = [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("01-{TRACE}-{PARENT}-01.more"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{short}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("0A-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("00-{TRACE}0-{}-01", &PARENT[1..]),
            format!("00-+{}-{PARENT}-01", &TRACE[1..]),
            format!("00_{TRACE}_{PARENT}_01"),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01\n"),
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(&text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_what_is_written_is_read(text in any::<String>(), trace in 1_u128.., parent in 1_u64.., flags: u8) {
            let _ = TraceContext::parse(&text);
            let context = TraceContext { trace, parent, flags };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }
    }
}
