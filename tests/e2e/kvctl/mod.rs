//! What `kvctl` does, what it says, and what it leaves behind.

mod beside_kvd;
mod command_line;
mod committing;
mod completions;
mod delete;
pub(crate) mod errors;
mod expiry;
mod expiry_loads;
mod export;
mod get;
mod hostile_text;
pub(crate) mod import;
mod import_lines;
mod inspect;
mod interrupted;
mod list;
mod memory;
mod other_formats;
mod put;
mod refused;
mod refused_lines;
pub(crate) mod said;
mod seed;
mod table;
mod terminal;
mod tokens;
mod tokens_at_risk;
mod unreachable;
mod unreadable;

tests::topics! {
    beside_kvd,
    command_line,
    committing,
    completions,
    delete,
    errors,
    expiry,
    expiry_loads,
    export,
    get,
    hostile_text,
    import,
    import_lines,
    inspect,
    interrupted,
    list,
    memory,
    other_formats,
    put,
    refused,
    refused_lines,
    seed,
    table,
    terminal,
    tokens,
    tokens_at_risk,
    unreachable,
    unreadable,
}
