//! The conformance suite: what the contract promises, sentence by sentence, on every engine.

use std::process::ExitCode;

mod adoption;
mod faults;
mod http;
mod kvctl;
mod limits;
mod operating;

tests::topics! { adoption, faults, http, kvctl, limits, operating }

fn main() -> ExitCode {
    tests::suite::run(&tests())
}
