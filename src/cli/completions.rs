//! `lighterman completions` and `lighterman man`: what is made from the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::args::Arguments;
use super::{Failure, report};
use crate::node::NodeError;

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// An existing folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs `lighterman completions`.
pub(super) fn print(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "lighterman", &mut text);
    report::result(&String::from_utf8_lossy(&text));
    Ok(())
}

/// Runs `lighterman man`: one page for the program and one for each command.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let path = args.folder.display().to_string();
    clap_mangen::generate_to(Arguments::command(), &args.folder)
        .map_err(|source| NodeError::File { action: "write", path, source }.into())
}
