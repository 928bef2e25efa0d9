//! What a file looks like in itself.

use std::collections::BTreeMap;

use crate::{
    rules::{FILE, FORBIDDEN_WORDS, FUNCTION, HOUSE, WHY_LONG},
    source::{SourceFile, Tree},
};

/// Words in rooms that must not use them.
pub(crate) fn words_out_of_place(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| file.of_crate == HOUSE) {
        for (room, words) in FORBIDDEN_WORDS {
            if file.room() != Some(room) {
                continue;
            }
            for named in &file.contents.named {
                if let Some(word) = named.segments.iter().find(|s| words.contains(&s.as_str())) {
                    found.push(format!("{}:{} names {word}", file.path, named.line));
                }
            }
        }
    }
    found.dedup();
    found
}

/// Types of a crate that cannot be told apart by their names.
pub(crate) fn types_of_one_name(tree: &Tree) -> Vec<String> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for file in tree.files.iter().filter(|file| file.module.is_some()) {
        // SeaORM wants the row of each table to have this name.
        let named_by_us = file
            .contents
            .types
            .iter()
            .filter(|(name, _)| name != "Model");
        for (name, line) in named_by_us {
            let of_name = places.entry((&file.of_crate, name)).or_default();
            of_name.push(format!("{}:{line}", file.path));
        }
    }
    let repeated = places.into_iter().filter(|(_, places)| places.len() > 1);
    repeated
        .map(|((of_crate, name), places)| {
            format!("{of_crate} has several types {name}: {}", places.join(", "))
        })
        .collect()
}

/// Functions and files of more lines than they may have that do not say why.
pub(crate) fn long(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in &tree.files {
        let lines: Vec<&str> = file.text.lines().collect();
        if lines.len() > FILE && !says_why_at_its_head(&lines) {
            found.push(format!("{} has {} lines", file.path, lines.len()));
        }
        found.extend(long_functions(file, &lines));
    }
    found
}

fn long_functions(file: &SourceFile, lines: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for function in &file.contents.functions {
        let count = function.last - function.first + 1;
        if count > FUNCTION && !says_why_above(lines, function.first) {
            let (path, first, name) = (&file.path, function.first, &function.name);
            found.push(format!("{path}:{first}: {name} has {count} lines"));
        }
    }
    found
}

/// Before anything but comments.
fn says_why_at_its_head(lines: &[&str]) -> bool {
    let mut head = lines
        .iter()
        .take_while(|line| line.is_empty() || line.starts_with("//"));
    head.any(|line| line.starts_with(WHY_LONG))
}

/// Among the comments and attributes above this line.
fn says_why_above(lines: &[&str], first: usize) -> bool {
    let mut above = lines[..first - 1].iter().rev().map(|line| line.trim());
    let mut above = above
        .by_ref()
        .take_while(|line| line.starts_with("//") || line.starts_with('#'));
    above.any(|line| line.starts_with(WHY_LONG))
}
