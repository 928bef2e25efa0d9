//! What the documents say is there: the tests they name, the calls of the README, and where their links lead.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Component, Path, PathBuf},
};

/// The pages that people read, from the root of the repository.
const PAGES: [&str; 12] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/guarantees.md",
    "docs/kvctl.md",
    "docs/operating.md",
    "bench/README.md",
    "bench/results.md",
    "clients/python/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_readme_is_short_and_begins_with_the_two_commands() {
    let readme = text("README.md");
    assert!(readme.lines().count() <= 130, "move it to docs/");
    let commands = readme.split("```").nth(1).unwrap_or_default();
    let programs: Vec<_> = commands
        .lines()
        .skip(1)
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .collect();
    assert_eq!(programs, ["cargo run -- --dev", "./test"]);
}

#[test]
fn the_readme_has_every_call_of_the_api() {
    let document: serde_json::Value = serde_json::from_str(&text("openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("the paths");
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().expect("the methods").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let readme = text("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let calls: BTreeSet<_> = rows
        .filter_map(|row| row.split('`').next())
        .filter(|call| call.contains(" /"))
        .map(str::to_owned)
        .collect();
    assert!(calls.is_superset(&described), "{described:?}\n{calls:?}");
}

#[test]
fn the_tests_that_the_guarantees_name_exist() {
    let modules = modules();
    let page = text("docs/guarantees.md");
    let named: Vec<(&str, &str)> = page
        .split('`')
        .filter_map(|code| code.rsplit_once("::"))
        .filter(|(module, _)| modules.contains_key(*module))
        .collect();
    assert!(named.len() > 20, "the table of guarantees: {named:?}");
    let rows = page.lines().filter(|line| line.contains("::"));
    assert!(named.len() >= rows.count(), "a module has another name");
    for (module, test) in named {
        let list = listed(&modules[module]);
        assert!(
            list.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|name| name == test),
            "{module}::{test} is not listed"
        );
    }
}

#[test]
fn the_handbook_names_its_tests() {
    let modules = modules();
    let handbook = text("docs/operating.md");
    let mut named = Vec::new();
    for section in handbook.split("\n## ").skip(1) {
        let tests = section.lines().skip_while(|line| !line.starts_with("Test"));
        let tests: Vec<&str> = tests.take_while(|line| !line.is_empty()).collect();
        assert!(!tests.is_empty(), "a section without a test: {section}");
        let names = tests.join(" ");
        named.extend(names.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    for name in &named {
        let exists = modules.contains_key(name) || root().join(name).is_file();
        assert!(exists, "{name} is not there");
    }
    for (module, source) in &modules {
        let uses_it = !listed(source).is_empty() && source.contains("handbook");
        assert!(!uses_it || named.contains(module), "{module} is not named");
    }
}

/// The source of each module of end-to-end tests, by its name.
fn modules() -> HashMap<String, String> {
    let e2e = root().join("tests/e2e");
    let (mut modules, mut folders) = (HashMap::new(), vec![e2e.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the tests") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(&e2e)
                .expect("below it")
                .with_extension("");
            let name = name.to_string_lossy().replace('/', "::");
            let name = name.trim_end_matches("::mod").to_owned();
            let source = fs::read_to_string(&path).expect("a source");
            modules.insert(name, source);
        }
    }
    modules
}

/// The list of tests at the head of a module; empty if it has none.
fn listed(source: &str) -> &str {
    let list = source.split_once("tests::list!");
    list.and_then(|(_, rest)| rest.split_once("\n}"))
        .map_or("", |(list, _)| list)
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let pages: HashMap<PathBuf, String> = PAGES
        .iter()
        .map(|page| (PathBuf::from(page), text(page)))
        .collect();
    let mut broken = Vec::new();
    for (page, text) in &pages {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                normal(&page.with_file_name("").join(file))
            };
            let reaches = if anchor.is_empty() {
                root().join(&target).exists()
            } else {
                let target = pages.get(&target);
                target.is_some_and(|text| anchors(text).contains(&anchor.to_owned()))
            };
            if !reaches {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The targets of the links to files and sections of the repository.
fn links(text: &str) -> Vec<String> {
    let (prose, _) = taken_apart(text);
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .map(str::to_owned)
        .collect()
}

/// As GitHub makes them of the headings.
fn anchors(text: &str) -> Vec<String> {
    let (_, headings) = taken_apart(text);
    let anchor = |heading: &str| {
        heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.into_iter().map(anchor).collect()
}

/// The text without its blocks of code, and the headings in it.
fn taken_apart(text: &str) -> (String, Vec<&str>) {
    let (mut prose, mut headings, mut code) = (String::new(), Vec::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
        } else if !code {
            prose += line;
            prose.push('\n');
            if line.starts_with('#') {
                headings.push(line.trim_start_matches('#').trim());
            }
        }
    }
    (prose, headings)
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(component);
        }
    }
    normal
}
