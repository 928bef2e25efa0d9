//! `kvctl`, the admin tool of kvd. It works directly on the database.
//!
//! Data goes to standard output, everything else to standard error.
//!
//! - `kvctl`: the command line, and the run of one command; `context`: what a command works with.
//! - `commands`: a file for each command; `arguments`: what several of them take.
//! - `load`: stores many items, all or nothing; `ndjson`: reads them; `other_formats`: names what is no
//!   NDJSON; `interrupt`: Ctrl-C.
//! - `output`, `table`, `progress`: what people and programs see; `escape`: text that cannot command
//!   a terminal.
//! - `error`: what can go wrong, and the exit codes; `explain`: the database's errors in words.

mod arguments;
mod commands;
mod context;
mod error;
mod escape;
mod explain;
mod interrupt;
mod kvctl;
mod load;
mod ndjson;
mod other_formats;
mod output;
mod progress;
mod table;

pub use self::kvctl::{Kvctl, run};
