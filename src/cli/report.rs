//! How failures and warnings look.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use console::{measure_text_width, style};
use serde_json::{Value, json};

use crate::core::error::{Attempt, Classify, Kind};
use crate::core::text::escaped;

/// Shows a failure on stderr: what happened, who is to blame, every attempt, what to do next.
#[expect(clippy::print_stderr, reason = "this is where messages are printed")]
pub(super) fn failure(failure: &(dyn Classify + Send + Sync), json: bool) {
    if json {
        eprintln!("{}", escaped(&as_json(failure).to_string()));
        return;
    }
    eprintln!("{} {}", style("error:").for_stderr().red().bold(), escaped(&failure.to_string()));
    if failure.kind() == Kind::Cancelled {
        return;
    }
    eprintln!("  blame: {}", failure.blame());
    let attempts = failure.attempts();
    if attempts.len() > 1 {
        told(attempts).iter().for_each(|line| eprintln!("  attempt: {}", escaped(line)));
    }
    if let Some(hint) = failure.hint() {
        eprintln!("  hint: {}", escaped(&hint));
    }
}

/// Attempts in words: those that ended alike in one line, in the order of the first of each.
fn told(attempts: &[Attempt]) -> Vec<String> {
    let mut alike: Vec<(&Attempt, usize, Duration)> = Vec::new();
    for attempt in attempts {
        let is_alike = |first: &Attempt| {
            (&first.host, &first.message, first.offset) == (&attempt.host, &attempt.message, attempt.offset)
        };
        match alike.iter_mut().find(|(first, ..)| is_alike(first)) {
            Some((_, times, took)) => (*times, *took) = (*times + 1, *took + attempt.elapsed),
            None => alike.push((attempt, 1, attempt.elapsed)),
        }
    }
    let line = |(attempt, times, took): (&Attempt, usize, Duration)| {
        let at = if attempt.offset > 0 { format!(" at byte {}", attempt.offset) } else { String::new() };
        let seconds = took.as_secs_f64();
        let when = match times {
            1 => format!("after {seconds:.1} s"),
            _ => format!("{times} times, {seconds:.1} s in all"),
        };
        format!("{}{at}, {when}: {}", attempt.host, attempt.message)
    };
    alike.into_iter().map(line).collect()
}

/// Shows a warning on stderr.
#[expect(clippy::print_stderr, reason = "this is where messages are printed")]
pub(super) fn warning(text: &str) {
    eprintln!("{} {}", style("warning:").for_stderr().yellow().bold(), escaped(text));
}

/// Says something on stderr.
#[expect(clippy::print_stderr, reason = "this is where messages are printed")]
pub(super) fn message(text: &str) {
    eprintln!("{}", harmless(text));
}

/// Prints a result. A reader that went away (`| head`) is no error.
pub(super) fn result(text: &str) {
    use std::io::Write;
    let text = harmless(text);
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stdout.write_all(b"\n");
    }
    let _ = stdout.flush();
}

/// What begins a colour of ours, what is in it, and what ends it.
const COLOUR: (&str, &str, char) = ("\u{1b}[", "0123456789;", 'm');

/// The text with escapes for what steers terminals, but for colours and weights, which we give.
fn harmless(text: &str) -> String {
    let (begin, inner, end) = COLOUR;
    let mut pieces = text.split(begin);
    let mut clean = escaped(pieces.next().unwrap_or_default()).into_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|letter| inner.contains(letter));
        clean.push_str(&if rest.starts_with(end) { begin.into() } else { escaped(begin) });
        clean.push_str(&escaped(piece));
    }
    clean
}

/// Prints a document as it is, byte for byte.
pub(super) fn document(bytes: &[u8]) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}

/// Columns that text is wrapped at.
pub(super) const WIDTH: usize = 100;

/// `text` after `start`, broken at spaces, further lines indented as far as `start` is wide.
pub(super) fn wrap(start: &str, text: &str) -> String {
    let indent = measure_text_width(start);
    let mut out = String::from(start);
    let mut column = indent;
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// A table of columns and nothing else.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table
}

/// The lines of a table without trailing blanks.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The fields of both objects.
pub(super) fn merge(mut into: Value, from: Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut into, from) {
        into.extend(from);
    }
    into
}

/// Shows a mistake in the command line, as clap words it.
pub(super) fn usage(error: &clap::Error, json: bool) {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let usage = Usage(message.strip_prefix("error: ").unwrap_or(message).replace("\n ", ""));
    failure(&usage, json);
}

/// A command line that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Classify for Usage {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        Some("--help shows every flag, with examples".into())
    }
}

fn as_json(failure: &(dyn Classify + Send + Sync)) -> Value {
    let attempts: Vec<_> = failure
        .attempts()
        .iter()
        .map(|attempt| {
            json!({
                "host": attempt.host,
                "kind": attempt.kind.name(),
                "message": attempt.message,
                "seconds": attempt.elapsed.as_secs_f64(),
                "offset": attempt.offset,
            })
        })
        .collect();
    json!({"error": {
        "kind": failure.kind().name(),
        "message": failure.to_string(),
        "blame": failure.blame().to_string(),
        "attempts": attempts,
        "hint": failure.hint(),
    }})
}

/// The process could not get going.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker threads: {0}")]
pub(super) struct Startup(pub(super) std::io::Error);

impl Classify for Startup {
    fn kind(&self) -> Kind {
        Kind::StoreFailed
    }
}

/// `12.3 MB`, in powers of ten as registries and disks count.
pub(super) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_ended_alike_are_one_line() {
        let attempt = |host: &str, message: &str, seconds: u64, offset: u64| Attempt {
            host: host.into(),
            kind: Kind::RegistryUnavailable,
            message: message.into(),
            elapsed: Duration::from_millis(1000 * seconds),
            offset,
        };
        let attempts = [
            attempt("mirror", "refused", 1, 0),
            attempt("registry", "503", 2, 0),
            attempt("mirror", "refused", 1, 0),
            attempt("registry", "cut off", 1, 0),
            attempt("registry", "cut off", 1, 7),
            attempt("mirror", "refused", 2, 0),
        ];
        let expected = [
            "mirror, 3 times, 4.0 s in all: refused",
            "registry, after 2.0 s: 503",
            "registry, after 1.0 s: cut off",
            "registry at byte 7, after 1.0 s: cut off",
        ];
        assert_eq!(told(&attempts), expected);
    }

    #[test]
    fn colours_are_the_only_thing_that_is_said_to_a_terminal() {
        for kept in ["plain\n\ttext", "\u{1b}[1mbold\u{1b}[0m", "\u{1b}[38;5;9mred\u{1b}[m and é"] {
            assert_eq!(harmless(kept), kept);
        }
        for (text, shown) in [
            ("\u{1b}[2Jgone", r"\u001b[2Jgone"),
            ("\u{1b}]0;title\u{7}", r"\u001b]0;title\u0007"),
            ("a\u{9b}31mb\rc", r"a\u009b31mb\u000dc"),
            ("\u{1b}[1", r"\u001b[1"),
            ("\u{1b}[1;\u{1b}[2K", r"\u001b[1;\u001b[2K"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }
}
