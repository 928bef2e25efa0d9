//! docs/kvctl.md tells of every command, and of none that is not there.

use std::collections::BTreeSet;

use clap::CommandFactory;
use cli::Kvctl;

#[test]
fn the_table_of_commands_is_complete_and_true() {
    let page = include_str!("../../docs/kvctl.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `kvctl "));
    let documented: BTreeSet<_> = rows
        .filter_map(|row| row.split([' ', '`']).next())
        .map(str::to_owned)
        .collect();
    let real: BTreeSet<_> = Kvctl::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(documented, real);
}
