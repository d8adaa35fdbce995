//! argv to exit code; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lighterman::cli::main()
}
