//! Reports of other nodes, read back. A file is somebody else's word: it is bounded, and has
//! nothing in it that would steer a terminal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::KnownError;
use crate::host::HostReport;

/// Bytes of a report. Real ones have less than 20 KiB, of which most is emulators.
const LARGEST: u64 = 1024 * 1024;

/// Architectures that one report speaks of; there are not thirty.
const MOST_RUNS: usize = 256;

/// Sizes of memory pages that Linux has on some architecture, in bytes.
const PAGES: std::ops::RangeInclusive<u64> = 4096..=1024 * 1024;

pub(super) fn read(path: &Path) -> Result<HostReport, KnownError> {
    let unreadable = |source| KnownError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(KnownError::TooLarge { path: path.into(), limit: LARGEST });
    }
    parse(&bytes).map_err(|reason| KnownError::NotAReport { path: path.into(), reason })
}

/// The report in a JSON text, or what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<HostReport, String> {
    let report: HostReport = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if steers_a_terminal(&value) {
        return Err("it has control characters in a text".into());
    }
    let kernel = &report.kernel.platform;
    if kernel.os.is_empty() || kernel.architecture.is_empty() {
        return Err("it does not say which platform the kernel is".into());
    }
    let odd = |size: &u64| !size.is_power_of_two() || !PAGES.contains(size);
    if let Some(size) = report.page_size.filter(odd) {
        return Err(format!("pages of {size} bytes are not of any Linux"));
    }
    if report.runs.len() > MOST_RUNS {
        return Err(format!("it speaks of {} architectures", report.runs.len()));
    }
    if !report.runs.iter().any(|runs| runs.architecture == kernel.architecture) {
        return Err(format!("it does not say whether {} runs, which is the kernel's own", kernel.architecture));
    }
    Ok(report)
}

fn steers_a_terminal(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(char::is_control),
        Value::Array(values) => values.iter().any(steers_a_terminal),
        Value::Object(fields) => fields.values().any(steers_a_terminal),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
