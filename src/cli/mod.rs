//! The commands: read flags, call the library, render for a person or as JSON.
//!
//! Results go to stdout, everything else to stderr. No decision about images is made here.

mod args;
mod completions;
mod config;
mod context;
#[cfg(feature = "containerd")]
mod daemon;
mod demo;
mod diagnose;
mod doctor;
mod explain;
pub mod host;
mod inspect;
mod manifest;
mod progress;
mod pull;
mod report;
mod resolve;
#[cfg(feature = "containerd")]
mod serve;
mod setup;
mod verify_image;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::FileConfig;
use crate::core::error::{Classify, Kind};
use crate::service::status::exit_code;
use crate::telemetry;

use args::{Arguments, Command};
use context::Context;

/// How long threads may go on after the command has ended.
const WINDING_DOWN: Duration = Duration::from_secs(2);

/// Any failure of a command, ready to be shown.
pub(crate) type Failure = Box<dyn Classify + Send + Sync>;

impl<E: Classify + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let arguments = match Arguments::try_parse_from(verify_image::spelled_out(&given)) {
        Ok(arguments) => arguments,
        Err(error) if verify_image::is_call(&given) => return verify_image::unheard(&error),
        Err(error) => {
            // Help and version are results; anything else is a mistake in the command line.
            if !error.use_stderr() {
                report::result(&error.render().to_string());
                return ExitCode::SUCCESS;
            }
            report::usage(&error, given.iter().any(|arg| arg == "--json"));
            return ExitCode::from(exit_code(Kind::InvalidArgument));
        }
    };
    arguments.global.color.apply();
    if let Command::VerifyImage(args) = &arguments.command {
        return verify_image::main(arguments.global, args);
    }
    let json = arguments.global.json;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::failure(failure.as_ref(), json);
            ExitCode::from(exit_code(failure.kind()))
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    if let Command::Config(args) = &arguments.command {
        return config::run(&arguments.global, args);
    }
    let file = FileConfig::load(arguments.global.config.as_deref())?;
    let level = arguments.global.log_level(&file, arguments.command.usual_level());
    let logging = telemetry::start(level, file.log_format.unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(report::Startup)?;
    let context = Context { global: arguments.global, file, logging };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Host => host::run(&context).await,
            Command::Resolve(args) => resolve::run(&context, &args).await,
            Command::Pull(args) => pull::run(&context, &args).await,
            #[cfg(feature = "containerd")]
            Command::Serve(args) => serve::run(&context, &args).await,
            #[cfg(feature = "containerd")]
            Command::Pulls => daemon::pulls(&context).await,
            #[cfg(feature = "containerd")]
            Command::Cancel(args) => daemon::cancel(&context, &args).await,
            Command::Diagnose(args) => diagnose::run(&context, &args).await,
            Command::Inspect(args) => inspect::run(&context, &args).await,
            Command::Manifest(args) => manifest::run(&context, &args).await,
            Command::Demo => demo::run(&context).await,
            // It needs no runtime, and was run above.
            Command::Config(_) => Ok(()),
            Command::Setup(args) => setup::run(&context, &args),
            Command::Doctor => doctor::run(&context).await,
            Command::Completions(args) => completions::print(&args),
            Command::Man(args) => completions::man(&args),
            // Answered before anything that can fail.
            Command::VerifyImage(_) => Ok(()),
        }
    });
    // After an interrupt, threads get the time to finish a file that they are at, but not to
    // hash the gigabytes of an earlier attempt.
    runtime.shutdown_timeout(WINDING_DOWN);
    outcome
}
