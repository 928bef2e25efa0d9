//! Which file imports which.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    imports::Named,
    rules::{CONFIG, CRATES, HOUSE, MAP, MEETING_PLACES, ORDER, SEE_CONFIG},
    source::{SourceFile, Tree},
};

/// One file names what is in another of its crate.
struct Arrow<'a> {
    from: &'a SourceFile,
    to: &'a SourceFile,
    line: usize,
    /// The path as it is written.
    written: String,
}

/// Files that import each other, each with the one that it imports next.
pub(crate) fn circles(tree: &Tree) -> Vec<String> {
    let arrows = arrows(tree);
    let mut next: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for arrow in &arrows {
        let to = next.entry(&arrow.from.path).or_default();
        to.entry(&arrow.to.path).or_insert(arrow.line);
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for start in next.keys() {
        if !seen.contains(start)
            && let Some(circle) = way_back(start, &next)
        {
            seen.extend(circle.iter().copied());
            let step = |n: usize| {
                let (from, to) = (circle[n], circle[(n + 1) % circle.len()]);
                format!("{from}:{} imports {to}", next[from][to])
            };
            let steps: Vec<String> = (0..circle.len()).map(step).collect();
            found.push(format!("a circle: {}", steps.join(", ")));
        }
    }
    found
}

/// The shortest circle through this file.
fn way_back<'a>(
    start: &'a str,
    next: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut visited = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let here = way[way.len() - 1];
            for to in next.get(here).into_iter().flat_map(BTreeMap::keys) {
                if *to == start {
                    return Some(way);
                }
                if visited.insert(*to) {
                    longer.push([way.as_slice(), &[*to]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Arrows between rooms against the plan.
pub(crate) fn to_the_left(tree: &Tree) -> Vec<String> {
    let mut found = BTreeSet::new();
    for arrow in arrows(tree) {
        if let Some(why) = forbidden(&arrow) {
            let Arrow {
                from,
                to,
                line,
                written,
            } = arrow;
            found.insert(format!(
                "{}:{line} names `{written}` of {}: {why}",
                from.path, to.path
            ));
        }
    }
    found.into_iter().collect()
}

fn forbidden(arrow: &Arrow<'_>) -> Option<String> {
    if arrow.from.of_crate != HOUSE {
        return None;
    }
    let (from, to) = (arrow.from.room()?, arrow.to.room()?);
    if from == to || from == MAP || to == MAP {
        return None;
    }
    if to == CONFIG {
        return (!SEE_CONFIG.contains(&from)).then(|| format!("{from} does not see {CONFIG}"));
    }
    let meeting = MEETING_PLACES
        .iter()
        .find(|(a, b, file)| *a == from && *b == to && *file != arrow.from.path);
    if let Some((_, _, file)) = meeting {
        return Some(format!("{from} and {to} meet in {file} only"));
    }
    let place = |room: &str| ORDER.iter().position(|rooms| rooms.contains(&room));
    let unplanned = |room: &str| format!("{room} has no place in the plan");
    let Some(right) = place(to) else {
        return Some(unplanned(to));
    };
    if from == CONFIG {
        return SEE_CONFIG
            .contains(&to)
            .then(|| format!("{to} is to the left of {CONFIG}"));
    }
    let Some(left) = place(from) else {
        return Some(unplanned(from));
    };
    match left.cmp(&right) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(format!("{from} and {to} stand beside each other")),
        std::cmp::Ordering::Greater => Some(format!("{to} is to the left of {from}")),
    }
}

/// Crates that import what they may not know.
pub(crate) fn between_crates(tree: &Tree) -> Vec<String> {
    let mut found = BTreeSet::new();
    for file in tree.files.iter().filter(|file| file.module.is_some()) {
        let known = CRATES.iter().find(|(name, _)| *name == file.of_crate);
        let may = known.map_or(&[][..], |(_, may)| may);
        for named in &file.contents.named {
            let other = named.segments[0].as_str();
            let is_crate = CRATES.iter().any(|(name, _)| *name == other);
            let is_module = child(tree, file, named).is_some();
            // A path of one word is a variable, or a macro.
            if named.segments.len() > 1
                && is_crate
                && !is_module
                && other != file.of_crate
                && !may.contains(&other)
            {
                let (path, line) = (&file.path, named.line);
                found.insert(format!("{path}:{line}: {} imports {other}", file.of_crate));
            }
        }
    }
    found.into_iter().collect()
}

/// Imports that hide where a thing is defined: by way of the crate's map, or all of a parent at once.
pub(crate) fn by_a_detour(tree: &Tree) -> Vec<String> {
    let mut found = BTreeSet::new();
    for file in tree.files.iter().filter(|file| file.module.is_some()) {
        for named in &file.contents.named {
            let last = named.segments.last().map(String::as_str);
            if named.segments[0] == "super" && last == Some("*") {
                found.insert(format!(
                    "{}:{} imports all of its parent: `{}`",
                    file.path,
                    named.line,
                    named.segments.join("::")
                ));
            }
        }
    }
    for Arrow {
        from,
        to,
        line,
        written,
    } in arrows(tree)
    {
        if to.room() == Some(MAP) && from.room() != Some("main") {
            found.insert(format!(
                "{}:{line} imports `{written}` by way of {}",
                from.path, to.path
            ));
        }
    }
    found.into_iter().collect()
}

fn arrows(tree: &Tree) -> Vec<Arrow<'_>> {
    let mut arrows = Vec::new();
    for from in tree.files.iter().filter(|file| file.module.is_some()) {
        for named in &from.contents.named {
            let Some(path) = place(tree, from, named) else {
                continue;
            };
            match tree.file_of(&from.of_crate, &path) {
                Some(to) if to.path != from.path => arrows.push(Arrow {
                    from,
                    to,
                    line: named.line,
                    written: named.segments.join("::"),
                }),
                _ => {}
            }
        }
    }
    arrows
}

/// The path from the root of the crate, if it is one of this crate.
fn place(tree: &Tree, file: &SourceFile, named: &Named) -> Option<Vec<String>> {
    let (first, rest) = named.segments.split_first()?;
    let mut path = match first.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => named.scope.clone(),
        // The binary of a crate names its library.
        name if name == file.of_crate && file.room() == Some("main") => Vec::new(),
        _ => return child(tree, file, named),
    };
    let ups = named.segments.iter().take_while(|s| *s == "super").count();
    path.truncate(path.len().saturating_sub(ups));
    let rest = &rest[ups.saturating_sub(1)..];
    path.extend(rest.iter().cloned());
    (!rest.is_empty() || first == "super").then_some(path)
}

/// The path of a module below the one in which it is named.
fn child(tree: &Tree, file: &SourceFile, named: &Named) -> Option<Vec<String>> {
    let path = [named.scope.as_slice(), &named.segments].concat();
    let module = &path[..=named.scope.len()];
    let is_module = |other: &SourceFile| {
        other.of_crate == file.of_crate && other.module.as_deref() == Some(module)
    };
    tree.files.iter().any(is_module).then_some(path)
}
