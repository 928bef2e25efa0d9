//! The README and the handbook name tests for what they promise; they are there.

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

#[test]
fn the_handbook_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let handbook = fs::read_to_string(root.join("../docs/operating.md")).expect("the handbook");
    let sections = handbook.split("\n## ").skip(1);
    let mut named = Vec::new();
    for section in sections {
        let tests = section.lines().find(|line| line.starts_with("Test"));
        let tests = tests.unwrap_or_else(|| panic!("a section without a test: {section}"));
        named.extend(tests.split('`').skip(1).step_by(2));
    }
    for name in &named {
        let module = root.join(format!("e2e/{name}.rs"));
        let script = root.join("..").join(name);
        assert!(module.exists() || script.exists(), "{name} is not there");
    }
    for file in fs::read_dir(root.join("e2e")).expect("the tests") {
        let file = file.expect("a file").file_name();
        let module = file.to_string_lossy().replace(".rs", "");
        assert!(
            !module.starts_with("operating_") || named.contains(&module.as_str()),
            "{module} is not named"
        );
    }
}
