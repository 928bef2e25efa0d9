//! The files of the workspace, and what each defines and names.

use std::{fs, path::Path};

use crate::{
    imports::{Contents, contents},
    rules::CRATES,
};

/// One file.
pub(crate) struct SourceFile {
    /// From the root of the workspace, such as `api/src/store/mod.rs`.
    pub(crate) path: String,
    pub(crate) of_crate: String,
    /// Its place below `src`; `None` for tests beside it, which no file imports.
    pub(crate) module: Option<Vec<String>>,
    pub(crate) text: String,
    pub(crate) contents: Contents,
}

impl SourceFile {
    fn new(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let module = module(path);
        let contents = contents(&file, module.clone().unwrap_or_default());
        Self {
            path: path.to_owned(),
            of_crate: path.split('/').next().unwrap_or_default().to_owned(),
            module,
            text: text.to_owned(),
            contents,
        }
    }

    /// The folder or file right below `src` that it belongs to.
    pub(crate) fn room(&self) -> Option<&str> {
        match self.module.as_deref()? {
            [] => Some("lib"),
            [room, ..] => Some(room),
        }
    }
}

/// All files of a workspace.
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    /// Of these paths and texts.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mut files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile::new(path, text))
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut tree = Self { files };
        tree.leave_out_test_files();
        tree
    }

    pub(crate) fn read(root: &Path) -> Self {
        let mut found = Vec::new();
        for (name, _) in CRATES {
            read_folder(root, name, &mut found);
        }
        let files: Vec<(&str, &str)> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        Self::new(&files)
    }

    /// A file that is declared under `#[cfg(test)]` is a test, and so is all below it.
    fn leave_out_test_files(&mut self) {
        let mut tests: Vec<(String, Vec<String>)> = Vec::new();
        for file in &self.files {
            let declared = file.contents.test_modules.iter();
            tests.extend(declared.map(|module| (file.of_crate.clone(), module.clone())));
        }
        for file in &mut self.files {
            let is_test = |(of_crate, test): &(String, Vec<String>)| {
                let module = file.module.as_ref();
                *of_crate == file.of_crate && module.is_some_and(|m| m.starts_with(test))
            };
            if tests.iter().any(is_test) {
                file.module = None;
            }
        }
    }

    /// The file of the deepest module on this path.
    pub(crate) fn file_of(&self, of_crate: &str, path: &[String]) -> Option<&SourceFile> {
        (0..=path.len()).rev().find_map(|depth| {
            let of_module = |file: &&SourceFile| {
                file.of_crate == of_crate && file.module.as_deref() == Some(&path[..depth])
            };
            self.files.iter().find(of_module)
        })
    }
}

/// The place of `api/src/store/mod.rs` is `store`, that of `api/src/lib.rs` is the root.
fn module(path: &str) -> Option<Vec<String>> {
    let (_, below) = path.split_once("/src/")?;
    let mut module: Vec<String> = below
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    Some(module)
}

fn read_folder(root: &Path, folder: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
        let entry = entry.expect("a folder can be read");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_folder(root, &path, found);
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source is text");
            found.push((path, text));
        }
    }
}
