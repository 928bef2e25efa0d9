//! The README names tests for what it promises; they are there.

use std::{fs, path::Path};

#[test]
fn the_tests_that_the_readme_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("../README.md")).expect("the README");
    let named: Vec<(&str, &str)> = readme
        .split('`')
        .filter_map(|code| code.split_once("::"))
        .filter(|(module, _)| root.join(format!("e2e/{module}.rs")).exists())
        .collect();
    assert!(named.len() > 20, "the table of guarantees: {named:?}");
    let rows = readme.lines().filter(|line| line.contains("::"));
    assert!(named.len() >= rows.count(), "a module has another name");
    for (module, test) in named {
        let source = fs::read_to_string(root.join(format!("e2e/{module}.rs"))).expect(module);
        let list = source.split_once("tests::list!").expect(module).1;
        let list = list.split_once("\n}").expect(module).0;
        assert!(
            list.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|name| name == test),
            "{module}::{test} is not listed"
        );
    }
}
