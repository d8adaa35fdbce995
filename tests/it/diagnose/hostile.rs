//! Images that somebody made to harm who looks into them. Each look ends with a finding or an error, in
//! bounded memory, and never in a panic.

mod documents;
mod files;
mod programs;

use std::fs::File;

use serde_json::Value;

use crate::support::fixture::Image;
use crate::support::lighterman::{Lighterman, Running, exit};

/// What a look may have resident at its peak, in KiB.
const MOST: u64 = 128 * 1024;

/// How a look at a hostile image ended.
struct End {
    code: Option<i32>,
    /// What was found, if it came to a verdict; else null.
    document: Value,
    stderr: String,
}

/// Looks into an image, and fails the test if that panics, takes too much memory, or ends without
/// saying what is wrong.
#[track_caller]
fn survive(what: &str, image: &Image) -> End {
    let user = Lighterman::new();
    let layout = user.path("layout");
    image.write_layout(&layout, "docker.io/library/app:1");
    let from = format!("oci:{}", layout.display());
    let args = ["diagnose", "app:1", "--from", &from, "--all-platforms", "--host", "linux/amd64", "--json"];
    let mut command = user.command(&args);
    // A pipe would fill while nobody reads.
    let answer = user.path("answer.json");
    command.stdout(File::create(&answer).expect("a writable home"));
    let mut running = Running::of(command);
    let peak = running.peak();
    let outcome = running.wait();
    let (code, stderr) = (outcome.code, outcome.stderr.clone());
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    assert!(peak < MOST, "{what}: {peak} KiB");
    let answer = std::fs::read(&answer).expect("a file of ours");
    let document = match code {
        Some(exit::OK | exit::PLATFORM) => {
            serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{what}: {error}\n{stderr}"))
        }
        Some(exit::CONTENT) => {
            assert!(outcome.error()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {stderr}");
            Value::Null
        }
        other => panic!("{what}: ended with {other:?}\n{stderr}"),
    };
    End { code, document, stderr }
}

impl End {
    /// Identifiers of the findings that are errors, about entry `entry` or the lone image.
    fn errors(&self, entry: Option<usize>) -> Vec<&str> {
        let entry = entry.map(|entry| entry.to_string());
        let findings = self.document["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let errors = findings.iter().filter(|finding| finding["severity"] == "error" && finding["node"].is_null());
        let ours = errors.filter(|finding| finding["entry"].as_str() == entry.as_deref());
        ours.filter_map(|finding| finding["id"].as_str()).collect()
    }

    /// Fails the test unless this error was found.
    #[track_caller]
    fn finds(&self, what: &str, id: &str) {
        assert!(self.errors(None).contains(&id), "{what}: no {id} in {:#}\n{}", self.document, self.stderr);
    }
}
