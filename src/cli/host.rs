//! `lighterman host`: the report of a node for a person.
//!
//! Rendering only. The JSON form is the report itself, serialised.

use std::fmt::Write;

use crate::core::platform::Platform;
use crate::host::{Emulator, Execution, HostReport, Runs};

use super::context::Context;
use super::report::wrap;
use super::{Failure, report};

/// Runs `lighterman host`.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let host = context.host().await;
    let host = host.complete();
    if context.global.json {
        // In words as well, as other commands write platforms; who reads the report back skips them.
        let words = serde_json::json!({
            "matches": host.matching_platform().to_string(),
            "cpu": host.isa_platform().to_string(),
        });
        report::result(&format!("{:#}", report::merge(serde_json::json!(host), words)));
    } else {
        report::result(&render_text(host));
    }
    Ok(())
}

/// The report on one screen, ending in a newline.
///
/// First what the node is and what images are matched with, then what runs on it and how,
/// then what is out of the ordinary, and last where each conclusion comes from.
#[must_use]
pub fn render_text(report: &HostReport) -> String {
    let mut out = String::new();
    out.push_str(&table(&summary(report)));
    section(&mut out, "What runs here", &table(&what_runs(report)));
    section(&mut out, "What does not", &table(&what_does_not(report)));
    section(&mut out, "Also registered in binfmt_misc", &other_emulators(report));
    let findings = report.findings.iter().map(|finding| wrap("  - ", &finding.message)).collect::<String>();
    section(&mut out, "Worth knowing", &findings);
    let evidence = report.evidence.iter().map(|evidence| [evidence.about.clone(), evidence.signal.clone()]);
    section(&mut out, "How we know", &table(&evidence.collect::<Vec<_>>()));
    out
}

fn summary(report: &HostReport) -> Vec<[String; 2]> {
    let kernel = &report.kernel;
    let emulated = if report.process.emulated { " (emulated; seen by this program)" } else { "" };
    let level = match &report.isa.level {
        Some(level) => format!("{}/{level}{emulated}", report.isa.architecture),
        None => format!("{}, level not known{emulated}", report.isa.architecture),
    };
    let matching = report.matching_platform();
    let matches = match &report.containerd {
        Some(_) => format!("matches images with {matching} (it says so itself)"),
        None => format!("not asked; one built like this program matches images with {matching}"),
    };
    let pages = report.page_size.map_or_else(|| "a size that is not known".into(), page_size);
    let kernel = format!("{}, Linux {}, memory pages of {pages}", kernel.platform, kernel.release);
    let row = |name: &str, text: String| [name.to_owned(), text];
    vec![row("kernel", kernel), row("CPU", level), row("containerd", matches)]
}

fn page_size(bytes: u64) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

/// Architectures that run, or may.
fn what_runs(report: &HostReport) -> Vec<[String; 3]> {
    let runs = report.runs.iter().filter(|runs| !matches!(runs.execution, Execution::No { .. }));
    runs.map(|runs| row(report, runs)).collect()
}

/// One line for all that fail alike.
fn what_does_not(report: &HostReport) -> Vec<[String; 2]> {
    let mut rows: Vec<[String; 2]> = Vec::new();
    for runs in &report.runs {
        let Execution::No { reason } = &runs.execution else { continue };
        match rows.iter_mut().find(|[_, earlier]| earlier == reason) {
            Some([platforms, _]) => {
                let _ = write!(platforms, ", {}", runs.architecture);
            }
            None => rows.push([Platform::linux(&runs.architecture, "").to_string(), reason.clone()]),
        }
    }
    rows
}

fn row(report: &HostReport, runs: &Runs) -> [String; 3] {
    let known_by = runs.known_by.clone();
    let (how, known_by) = match &runs.execution {
        Execution::Native => (native(report, &runs.architecture), known_by),
        Execution::Compat => ("natively, 32-bit mode".into(), known_by),
        Execution::Emulated { handler: None, .. } => ("emulated".into(), known_by),
        Execution::Emulated { handler: Some(name), flags, usable_in_containers, .. } => {
            let flags = if flags.is_empty() { "no flags" } else { flags };
            let reach = if *usable_in_containers { "in containers too" } else { "not in containers" };
            (format!("emulated by {name} ({flags}), {reach}"), known_by)
        }
        Execution::No { reason } | Execution::Unknown { reason } => ("not known".into(), reason.clone()),
    };
    [Platform::linux(&runs.architecture, "").to_string(), how, known_by]
}

fn native(report: &HostReport, architecture: &str) -> String {
    match &report.isa.level {
        Some(level) if report.isa.architecture == architecture => format!("natively, up to {architecture}/{level}"),
        _ => "natively".into(),
    }
}

/// Registrations that no line of the table above speaks of.
fn other_emulators(report: &HostReport) -> String {
    let is_shown = |emulator: &&Emulator| {
        let name = Some(&emulator.name);
        !report
            .runs
            .iter()
            .any(|runs| matches!(&runs.execution, Execution::Emulated { handler, .. } if handler.as_ref() == name))
    };
    let names = report.emulators.iter().filter(is_shown).map(|emulator| {
        let state = if emulator.enabled { "" } else { ", disabled" };
        format!("{} ({}{state})", emulator.name, if emulator.flags.is_empty() { "no flags" } else { &emulator.flags })
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { wrap("  ", &names.join(", ")) }
}

fn section(out: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n{title}\n{body}");
    }
}

/// Indented columns, the last one wrapped under itself.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let mut start = String::from("  ");
        for (cell, width) in row.iter().zip(widths).take(N - 1) {
            let _ = write!(start, "{cell:width$}  ");
        }
        out.push_str(&wrap(&start, &row[N - 1]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::render_text;
    use crate::cli::report::{WIDTH, wrap};
    use crate::core::platform::Platform;
    use crate::host::{Depth, HostReport, Probe, Recorded, detect};

    const QEMU: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: F\noffset 18\nmagic b700\n";
    const WINE: &str = "disabled\ninterpreter /usr/bin/wine\nflags: \noffset 0\nmagic 4d5a\n";

    /// A 64-bit arm kernel with 32-bit programs, and emulators that make no sense there.
    fn report() -> HostReport {
        let mut board = Recorded { process_architecture: "arm".into(), ..Recorded::default() };
        board.uname.machine = "aarch64".into();
        board.uname.release = "6.6.31".into();
        board.auxv.page_size = 16384;
        for (path, text) in [
            ("/proc/cpuinfo", "Features\t: fp asimd\nCPU architecture: 8\n"),
            ("/proc/sys/fs/binfmt_misc/status", "enabled\n"),
            ("/proc/sys/fs/binfmt_misc/qemu-aarch64", QEMU),
            ("/proc/sys/fs/binfmt_misc/wine", WINE),
        ] {
            board.files.insert(path.into(), Ok(text.into()));
        }
        let names = ["wine", "qemu-aarch64", "status"].map(String::from).to_vec();
        board.directories.insert("/proc/sys/fs/binfmt_misc".into(), names);
        board.probes.insert("arm64".into(), Probe::Ran);
        detect(&board, Depth::Full)
    }

    #[test]
    fn a_report_fits_on_one_screen() {
        let expected = "  kernel      linux/arm64, Linux 6.6.31, memory pages of 16 KiB
  CPU         arm64/v8.0
  containerd  matches images with linux/arm64 (it says so itself)

What runs here
  linux/arm64  emulated by qemu-aarch64 (F), in containers too  a test program ran

What does not
  linux/arm  the kernel cannot start such programs (ENOEXEC)

Also registered in binfmt_misc
  wine (no flags, disabled)

Worth knowing
  - 32-bit userland on a 64-bit kernel: this program is arm and the kernel is arm64. A containerd
    like it matches arm images only; arm64 images run as well, with --platform linux/arm64
  - arm programs do not run on this arm64 node, though containerd falls back to arm images where an
    image has nothing for arm64

How we know
  kernel     uname -m says aarch64
  matching   architecture of this program; /proc/cpuinfo says CPU architecture 8
  ISA level  Features of /proc/cpuinfo, common to all its cores
  page size  AT_PAGESZ
";
        let text = render_text(&report().with_containerd(Platform::linux("arm64", "v8")));
        assert_eq!(text, expected, "{text}");
        assert!(text.lines().count() <= 40 && text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn containerd_that_was_not_asked_is_not_quoted() {
        assert!(
            render_text(&report())
                .contains("not asked; one built like this program matches images with linux/arm/v8\n")
        );
    }

    #[test]
    fn words_longer_than_a_line_stay_whole() {
        let word = "x".repeat(150);
        assert_eq!(wrap("  - ", &format!("a {word} b")), format!("  - a\n    {word}\n    b\n"));
    }
}
