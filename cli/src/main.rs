//! `kvctl`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
