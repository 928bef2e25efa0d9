//! Made-up trees: each rule finds what breaks it and names the files, and leaves the rest alone.

use crate::{arrows, shape, source::Tree};

/// One finding, which names all of these.
#[track_caller]
fn assert_found(found: &[String], named: &[&str]) {
    assert_eq!(found.len(), 1, "{found:?}");
    for name in named {
        assert!(found[0].contains(name), "no {name}: {}", found[0]);
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_circle_of_two_files_names_both() {
    let tree = Tree::new(&[
        ("cli/src/lib.rs", "mod a; mod b;"),
        ("cli/src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("cli/src/b.rs", "use super::a::A; pub struct B(A);"),
    ]);
    assert_found(&arrows::circles(&tree), &["cli/src/a.rs", "cli/src/b.rs"]);
}

#[test]
fn a_circle_of_three_files_is_found_in_code_and_macros_too() {
    let tree = Tree::new(&[
        ("entity/src/lib.rs", "mod a; mod b; mod c;"),
        ("entity/src/a.rs", "fn f() { crate::b::g(); }"),
        (
            "entity/src/b.rs",
            "fn g() { println!(\"{}\", crate::c::h(1)); }",
        ),
        ("entity/src/c.rs", "use crate::a::f;"),
    ]);
    let files = ["entity/src/a.rs", "entity/src/b.rs", "entity/src/c.rs"];
    assert_found(&arrows::circles(&tree), &files);
}

#[test]
fn a_face_that_imports_its_files_is_in_a_circle_only_if_one_imports_it() {
    let face = (
        "cli/src/room/mod.rs",
        "mod part; pub(crate) use self::part::P; pub struct Q;",
    );
    let map = ("cli/src/lib.rs", "mod room;");
    let alone = Tree::new(&[map, face, ("cli/src/room/part.rs", "pub(super) struct P;")]);
    assert_eq!(arrows::circles(&alone), NOTHING);
    let part = ("cli/src/room/part.rs", "use super::Q; pub struct P(Q);");
    let circle = arrows::circles(&Tree::new(&[map, face, part]));
    assert_found(&circle, &["cli/src/room/mod.rs", "cli/src/room/part.rs"]);
}

#[test]
fn tests_may_import_whatever_they_test() {
    let tree = Tree::new(&[
        ("cli/src/lib.rs", "mod a; mod b; #[cfg(test)] mod proof;"),
        ("cli/src/a.rs", "use crate::b::B;"),
        (
            "cli/src/b.rs",
            "pub struct B; #[cfg(test)] mod tests { use super::*; use crate::a; }",
        ),
        ("cli/src/proof.rs", "use super::*; use crate::a; struct B;"),
    ]);
    assert_eq!(arrows::circles(&tree), NOTHING);
    assert_eq!(arrows::by_a_detour(&tree), NOTHING);
    assert_eq!(shape::types_of_one_name(&tree), NOTHING);
}

/// A house with one file in each of two rooms, the first of which names something of the second.
fn house(from: &str, to: &str, name: &str) -> Tree {
    let (from, to) = (format!("api/src/{from}.rs"), format!("api/src/{to}.rs"));
    Tree::new(&[
        ("api/src/lib.rs", ""),
        (&from, &format!("use crate::{name};")),
        (&to, "pub struct X;"),
    ])
}

#[test]
fn an_arrow_to_the_left_names_both_files() {
    let left = arrows::to_the_left(&house("store/reads", "http/problem", "http::problem::X"));
    assert_found(
        &left,
        &["api/src/store/reads.rs:1", "api/src/http/problem.rs"],
    );
    let right = house("items/mod", "http/problem", "http::problem::X");
    assert_eq!(arrows::to_the_left(&right), NOTHING);
}

#[test]
fn rooms_that_stand_beside_each_other_do_not_import_each_other() {
    for (from, to) in [
        ("openapi", "status"),
        ("auth", "rate_limit"),
        ("net", "store"),
    ] {
        let found = house(
            &format!("{from}/a"),
            &format!("{to}/b"),
            &format!("{to}::b::X"),
        );
        let (from, to) = (format!("api/src/{from}/a.rs"), format!("api/src/{to}/b.rs"));
        assert_found(&arrows::to_the_left(&found), &[&from, &to]);
    }
}

#[test]
fn only_the_beginning_sees_the_configuration() {
    for from in ["run", "router", "main"] {
        let tree = house(from, "config", "config::X");
        assert_eq!(arrows::to_the_left(&tree), NOTHING);
    }
    let store = arrows::to_the_left(&house("store/mod", "config", "config::X"));
    assert_found(&store, &["api/src/store/mod.rs", "api/src/config.rs"]);
    let settings = house("config", "store/mod", "store::X");
    assert_eq!(arrows::to_the_left(&settings), NOTHING);
    let back = arrows::to_the_left(&house("config", "run", "run::X"));
    assert_found(&back, &["api/src/config.rs", "api/src/run.rs"]);
}

#[test]
fn http_meets_the_store_in_one_file() {
    let there = house("http/store_problem", "store/mod", "store::X");
    assert_eq!(arrows::to_the_left(&there), NOTHING);
    let elsewhere = arrows::to_the_left(&house("http/json", "store/mod", "store::X"));
    assert_found(&elsewhere, &["api/src/http/json.rs", "store_problem.rs"]);
}

#[test]
fn a_room_that_the_plan_does_not_know_is_named() {
    let found = arrows::to_the_left(&house("items/mod", "utils", "utils::X"));
    assert_found(
        &found,
        &["api/src/items/mod.rs", "api/src/utils.rs", "no place"],
    );
}

#[test]
fn the_store_may_not_speak_of_http() {
    let store = (
        "api/src/store/mod.rs",
        "fn f() -> poem::Result<()> { todo() }",
    );
    let http = ("api/src/http/mod.rs", "use poem::http::StatusCode;");
    let found = shape::words_out_of_place(&Tree::new(&[store, http]));
    assert_found(&found, &["api/src/store/mod.rs:1", "poem"]);
}

#[test]
fn a_crate_that_imports_another_against_the_plan_is_named_with_its_file() {
    let tree = Tree::new(&[
        ("database/src/lib.rs", "use entity::Item;"),
        (
            "entity/src/lib.rs",
            "use database::Session; pub struct Item;",
        ),
    ]);
    let found = arrows::between_crates(&tree);
    assert_found(&found, &["database/src/lib.rs:1", "imports entity"]);
}

#[test]
fn an_import_by_way_of_the_map_or_of_all_of_the_parent_is_named() {
    let map = ("entity/src/lib.rs", "mod a; mod b; pub use a::A;");
    let a = ("entity/src/a.rs", "pub struct A;");
    let by_the_map = Tree::new(&[map, a, ("entity/src/b.rs", "use crate::A;")]);
    let found = arrows::by_a_detour(&by_the_map);
    assert_found(&found, &["entity/src/b.rs:1", "entity/src/lib.rs"]);
    let direct = Tree::new(&[map, a, ("entity/src/b.rs", "use crate::a::A;")]);
    assert_eq!(arrows::by_a_detour(&direct), NOTHING);
    let inner = ("entity/src/b/c.rs", "use super::*;");
    let found = arrows::by_a_detour(&Tree::new(&[map, a, ("entity/src/b/mod.rs", ""), inner]));
    assert_found(&found, &["entity/src/b/c.rs:1", "super::*"]);
}

#[test]
fn two_types_of_one_name_name_both_files() {
    let tree = Tree::new(&[
        ("cli/src/a.rs", "pub struct Line;"),
        ("cli/src/b.rs", "enum Line {}"),
        ("entity/src/a.rs", "type Line = u8;"),
    ]);
    let found = shape::types_of_one_name(&tree);
    assert_found(&found, &["Line", "cli/src/a.rs:1", "cli/src/b.rs:1"]);
}

#[test]
fn a_long_function_and_a_long_file_are_named_unless_they_say_why() {
    let body = "    let _ = 1;\n".repeat(39);
    let function = format!("/// Does it.\npub fn long() {{\n{body}}}\n");
    let found = shape::long(&Tree::new(&[("cli/src/a.rs", &function)]));
    assert_found(&found, &["cli/src/a.rs:2", "long has 41 lines"]);
    let excused = format!("// Long: one table.\n#[inline]\n{function}");
    assert_eq!(
        shape::long(&Tree::new(&[("cli/src/a.rs", &excused)])),
        NOTHING
    );

    let file = format!("//! A file.\n{}", "const _: () = ();\n".repeat(400));
    let found = shape::long(&Tree::new(&[("cli/src/a.rs", &file)]));
    assert_found(&found, &["cli/src/a.rs has 401 lines"]);
    let excused = format!("// Long: one table.\n{file}");
    assert_eq!(
        shape::long(&Tree::new(&[("cli/src/a.rs", &excused)])),
        NOTHING
    );
}
