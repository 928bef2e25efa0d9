//! The packaged settings are complete, and the packaged unit leaves room for them.

use std::{fs, path::Path};

use api::Config;
use clap::{CommandFactory, Parser};

fn packaged(file: &str) -> String {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    fs::read_to_string(packaging.join(file)).expect(file)
}

#[test]
fn the_packaged_settings_that_are_comments_are_all_others_with_their_defaults() {
    let command = Config::command();
    let settings = command.get_arguments().filter_map(|argument| {
        let name = argument.get_env()?.to_string_lossy();
        let default = argument.get_default_values().first();
        let default = default.map_or("".into(), |value| value.to_string_lossy());
        Some(format!("#{name}={default}"))
    });
    let set = ["#DATABASE_URL=", "#MIGRATE=", "#RUST_LOG="];
    let is_set = |line: &String| set.iter().any(|name| line.starts_with(name));
    let text = packaged("kvd.env");
    let comments = text.lines().filter(|line| line.contains('='));
    let comments = comments.filter(|line| line.starts_with('#') && !line.contains(' '));
    assert_eq!(
        comments
            .map(str::to_owned)
            .filter(|line| !is_set(line))
            .collect::<Vec<_>>(),
        settings.filter(|line| !is_set(line)).collect::<Vec<_>>()
    );
}

#[test]
fn the_unit_leaves_room_for_the_defaults() {
    let unit = packaged("kvd.service");
    let limit = |name: &str| -> u64 {
        let value = unit.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse().unwrap()
    };
    let config = Config::parse_from(["kvd", "--database-url", "sqlite://kvd.db"]);
    let stop = config.shutdown_delay + config.shutdown_grace;
    assert!(limit("TimeoutStopSec=") > 2 * stop.as_secs());
    let descriptors = config.max_connections + config.database_max_connections;
    assert!(limit("LimitNOFILE=") > 2 * u64::from(descriptors));
}
