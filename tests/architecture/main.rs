//! The wall: which file may import which, held against the `use` lines and paths of every crate of the workspace.
//!
//! * `rules` is the plan, as tables: the place to amend when the plan changes
//! * `source` reads the files of a tree, `imports` finds out which file names which
//! * `arrows` and `shape` hold the files to the plan
//! * `bites` shows on made-up trees that each rule finds what breaks it, and names the files

mod arrows;
#[cfg(test)]
mod bites;
mod imports;
mod rules;
mod shape;
mod source;

use std::path::Path;

use crate::source::Tree;

/// The sources of the workspace.
fn workspace() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Tree::read(&root)
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(
        found.is_empty(),
        "{} found:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_none(&arrows::circles(&workspace()));
}

#[test]
fn no_room_imports_one_to_its_left() {
    assert_none(&arrows::to_the_left(&workspace()));
}

#[test]
fn no_crate_imports_one_that_it_may_not_know() {
    assert_none(&arrows::between_crates(&workspace()));
}

#[test]
fn nothing_is_imported_by_way_of_the_map_or_the_parent() {
    assert_none(&arrows::by_a_detour(&workspace()));
}

#[test]
fn the_store_names_no_http() {
    assert_none(&shape::words_out_of_place(&workspace()));
}

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    assert_none(&shape::types_of_one_name(&workspace()));
}

#[test]
fn functions_and_files_are_short_or_say_why_not() {
    assert_none(&shape::long(&workspace()));
}
