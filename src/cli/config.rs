//! `lighterman config`: what is wrong with a configuration, and what holds.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, Subcommand};
use serde_json::json;

use crate::config::keys::Key;
use crate::config::{self, ConfigError, DEFAULT_PATH, FileConfig, Mistake, Origin};

use super::args::{Arguments, Global};
use super::{Failure, report};

/// Check the configuration, or show what holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman config check
  lighterman config check ./config.toml && cp ./config.toml /etc/lighterman/
  lighterman config show --json")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say every mistake in a configuration file; exit code 78 if there is one
    #[command(after_help = "Examples:\n  lighterman config check ./config.toml")]
    Check {
        /// The file [default: --config, else /etc/lighterman/config.toml]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show every key with what holds for it, and who says so
    #[command(after_help = "Examples:\n  lighterman config show")]
    Show,
}

/// Reads no file but the one that it is about, so that a broken one can be looked at.
pub(super) fn run(global: &Global, args: &ConfigArgs) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check { file } => check(global, file.as_deref().or(global.config.as_deref())),
        ConfigCommand::Show => show(global),
    }
}

fn check(global: &Global, file: Option<&Path>) -> Result<(), Failure> {
    let checked = FileConfig::load(file);
    let name = file.unwrap_or(Path::new(DEFAULT_PATH)).display();
    let mistakes: Option<&[Mistake]> = match &checked {
        Ok(_) => Some(&[]),
        Err(ConfigError::Mistakes { mistakes, .. }) => Some(mistakes),
        Err(_) => None,
    };
    match (mistakes, global.json) {
        (Some(mistakes), true) => {
            report::result(&json!({"file": name.to_string(), "mistakes": mistakes}).to_string());
        }
        (Some([]), false) => report::result(&format!("{name}: no mistakes")),
        // The failure says it all.
        _ => {}
    }
    Ok(checked.map(drop)?)
}

fn show(global: &Global) -> Result<(), Failure> {
    let file = FileConfig::load(global.config.as_deref())?;
    let path = global.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    // Asked for again as what they are: the parsed flags do not tell a flag from a variable.
    let given = Arguments::command().try_get_matches().ok();
    let all = config::effective(&file, |key| outside(key, given.as_ref()));
    if global.json {
        let keys: Vec<_> = all.iter().map(config::Effective::json).collect();
        report::result(&json!({"file": path.display().to_string(), "found": path.exists(), "keys": keys}).to_string());
        return Ok(());
    }
    let found = if path.exists() { "" } else { ", which is not there" };
    report::result(&format!("# {}{found}\n{}", path.display(), config::shown(&all)));
    Ok(())
}

/// What a flag or a variable says of a key.
fn outside(key: &Key, given: Option<&ArgMatches>) -> Option<(Origin, String)> {
    let flagged = key.flag.and_then(|flag| {
        let id = flag.trim_start_matches('-').replace('-', "_");
        let given = deepest(given?);
        // Other commands' flags are unknown to this one.
        given.try_contains_id(&id).ok()?;
        let typed = given.value_source(&id) == Some(ValueSource::CommandLine);
        let text = given.get_raw(&id)?.next()?.to_string_lossy().into_owned();
        typed.then_some((Origin::Flag(flag), text))
    });
    let variable = || {
        let name = key.variable?;
        Some((Origin::Environment(name), std::env::var_os(name)?.to_string_lossy().into_owned()))
    };
    flagged.or_else(variable)
}

/// Global flags are known to every level, and complete at the last.
fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| deepest(inner))
}
