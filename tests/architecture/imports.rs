//! What a file names: paths in `use`, in code and in macros, outside its tests; and what it defines.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, Block, File, ImplItemFn, Item, ItemFn, ItemMod, ItemUse, Macro, Path, Signature,
    TraitItemFn, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

/// A path as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    /// The module in which it is written.
    pub(crate) scope: Vec<String>,
    pub(crate) line: usize,
}

/// A function with its first and its last line, without its documentation and attributes.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) named: Vec<Named>,
    /// Types with their lines.
    pub(crate) types: Vec<(String, usize)>,
    /// All of them, those of tests included.
    pub(crate) functions: Vec<Function>,
    /// Modules that are declared for tests only.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// Reads a file whose module this is.
pub(crate) fn contents(file: &File, module: Vec<String>) -> Contents {
    let mut reader = Reader {
        scope: module,
        tests: 0,
        contents: Contents::default(),
    };
    reader.visit_file(file);
    reader.contents
}

struct Reader {
    scope: Vec<String>,
    /// How deep in tests.
    tests: usize,
    contents: Contents,
}

impl Reader {
    fn name(&mut self, segments: Vec<String>, span: Span) {
        if self.tests == 0 {
            self.contents.named.push(Named {
                segments,
                scope: self.scope.clone(),
                line: span.start().line,
            });
        }
    }

    fn function(&mut self, visibility: Option<&Visibility>, signature: &Signature, body: &Block) {
        let first = match visibility {
            None | Some(Visibility::Inherited) => signature.span().start().line,
            Some(visibility) => visibility.span().start().line,
        };
        self.contents.functions.push(Function {
            name: signature.ident.to_string(),
            first,
            last: body.span().end().line,
        });
    }

    fn type_of(&mut self, item: &Item) {
        let name = match item {
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            _ => return,
        };
        let line = name.span().start().line;
        self.contents.types.push((name.to_string(), line));
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let is_test = attributes(item).iter().any(is_for_tests);
        self.tests += usize::from(is_test);
        if self.tests == 0 {
            self.type_of(item);
        }
        visit::visit_item(self, item);
        self.tests -= usize::from(is_test);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.scope.push(module.ident.to_string());
        if module.content.is_none() && self.tests > 0 {
            self.contents.test_modules.push(self.scope.clone());
        }
        visit::visit_item_mod(self, module);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for path in paths {
            self.name(path, item.span());
        }
    }

    /// `pub(super)` names nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        let segments = path.segments.iter().map(|s| s.ident.to_string());
        self.name(segments.collect(), path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        let mut paths = Vec::new();
        paths_in(call.tokens.clone(), &mut paths);
        for (path, span) in paths {
            self.name(path, span);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(Some(&function.vis), &function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function(Some(&function.vis), &function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(None, &function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// `#[cfg(test)]` and the like, and `#[test]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let name = attribute
        .path()
        .segments
        .last()
        .map(|s| s.ident.to_string());
    match name.as_deref() {
        Some("test") => true,
        Some("cfg") => attribute
            .parse_args::<syn::Meta>()
            .is_ok_and(|meta| meta.path().is_ident("test")),
        _ => false,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `a::{b, c::*}` is `a::b` and `a::c::*`.
fn flatten(tree: &UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let mut end = |last: String| {
        let mut path = before.clone();
        path.push(last);
        paths.push(path);
    };
    match tree {
        UseTree::Name(name) => end(name.ident.to_string()),
        UseTree::Rename(name) => end(name.ident.to_string()),
        UseTree::Glob(_) => end("*".to_owned()),
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, paths);
            }
        }
    }
}

/// Every `a::b::c` among the tokens of a macro's call.
fn paths_in(tokens: TokenStream, paths: &mut Vec<(Vec<String>, Span)>) {
    let mut path: Vec<String> = Vec::new();
    let (mut begin, mut colons) = (Span::call_site(), 0);
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                if path.is_empty() {
                    begin = ident.span();
                }
                path.push(ident.to_string());
                colons = 0;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                colons += 1;
                continue;
            }
            _ => {}
        }
        if path.len() > 1 {
            paths.push((path.clone(), begin));
        }
        path.clear();
        colons = 0;
        match token {
            TokenTree::Ident(ident) => {
                begin = ident.span();
                path.push(ident.to_string());
            }
            TokenTree::Group(group) => paths_in(group.stream(), paths),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    if path.len() > 1 {
        paths.push((path, begin));
    }
}
