//! The plan of the house.

/// The crates of the workspace, and which others each may import. A tool for tests imports what it likes.
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("api", &["entity", "migration", "database", "settings"]),
    ("cli", &["entity", "migration", "database", "settings"]),
    ("entity", &["database"]),
    ("migration", &["database"]),
    ("database", &[]),
    ("settings", &[]),
    (
        "tests",
        &["api", "cli", "entity", "migration", "database", "settings"],
    ),
];

/// The crate that has rooms.
pub(crate) const HOUSE: &str = "api";

/// Its rooms: each may import what stands below it, but nothing beside it or above it.
pub(crate) const ORDER: &[&[&str]] = &[
    &["main"],
    &["run"],
    &["router"],
    &["openapi", "status"],
    &["items"],
    &["auth", "rate_limit"],
    &["http"],
    &["store", "net"],
    &["telemetry"],
];

/// The settings of the whole process: each room has settings of its own, which this one puts together.
pub(crate) const CONFIG: &str = "config";

/// The only rooms that see [`CONFIG`].
pub(crate) const SEE_CONFIG: &[&str] = &["main", "run", "router"];

/// The map of a crate: it declares and re-exports, and nothing in its crate imports from it.
pub(crate) const MAP: &str = "lib";

/// Two rooms that meet in one file only: the one that imports, the one imported, and the file.
pub(crate) const MEETING_PLACES: &[(&str, &str, &str)] =
    &[("http", "store", "api/src/http/store_problem.rs")];

/// Words that no file of a room may use.
pub(crate) const FORBIDDEN_WORDS: &[(&str, &[&str])] = &[("store", &["poem", "StatusCode"])];

/// The most lines of a function, without its documentation and attributes.
pub(crate) const FUNCTION: usize = 40;

/// The most lines of a file, its tests included.
pub(crate) const FILE: usize = 400;

/// How a line begins that says why a function or a file is longer. It stands above the function, or at the file's head.
pub(crate) const WHY_LONG: &str = "// Long: ";
