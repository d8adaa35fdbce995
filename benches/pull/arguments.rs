//! What the benchmark was asked for.

use std::path::PathBuf;

use clap::Parser;

/// lighterman against containerd 1.6 and skopeo, in turns.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Only the rows whose name contains one of these
    pub(crate) rows: Vec<String>,
    /// Turns for each side
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// One turn, and images of a fiftieth: says whether everything works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write every figure of every turn here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Put the disks of the pulls into this directory [default: into memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,
    /// Another lighterman than the one that was just built
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_lighterman"))]
    pub(crate) ours: PathBuf,
    /// Another lighterman in the peer's place: before a change against after it
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) before: Option<PathBuf>,
    /// Name the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Turns for each side.
    pub(crate) fn turns(&self) -> usize {
        if self.quick { 1 } else { self.turns.max(1) }
    }

    /// Whether a row was asked for.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.contains(part.as_str()))
    }
}
