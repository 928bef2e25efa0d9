//! The README's table of settings is the one of the code.

use std::{fs, path::Path};

use api::config::Config;
use clap::CommandFactory;

/// Flag, variable, default and meaning of each row, without the marks of Markdown.
fn documented() -> Vec<[String; 4]> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once("\n## Configuration\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `--"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        let cells: Vec<_> = cells.map(|cell| cell.trim().replace('`', "")).collect();
        cells.try_into().unwrap()
    })
    .collect()
}

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
