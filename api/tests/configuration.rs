//! The table of settings in docs/configuration.md is the one of the code.

use api::Config;
use clap::CommandFactory;

#[test]
fn the_table_of_settings_is_complete_and_true() {
    let command = Config::command();
    let arguments = command.get_arguments().filter(|argument| {
        let name = argument.get_id().as_str();
        name != "help" && name != "version"
    });
    let real: Vec<[String; 4]> = arguments
        .map(|argument| {
            let default = argument.get_default_values().first();
            [
                format!("--{}", argument.get_long().unwrap()),
                argument
                    .get_env()
                    .map_or(String::new(), |name| name.to_string_lossy().into_owned()),
                default.map_or(String::new(), |value| value.to_string_lossy().into_owned()),
                argument.get_help().unwrap().to_string(),
            ]
        })
        .collect();
    assert_eq!(documented(), real);
}

/// Flag, variable, default and meaning of each row, without the marks of Markdown.
fn documented() -> Vec<[String; 4]> {
    let page = include_str!("../../docs/configuration.md");
    let rows = page.lines().filter(|line| line.starts_with("| `--"));
    let cells = rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        let cells: Vec<_> = cells.map(|cell| cell.trim().replace('`', "")).collect();
        cells.try_into().ok()
    });
    cells.flatten().collect()
}
