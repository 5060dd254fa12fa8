//! Who may know whom: `node → sqlite → engine → core`, no arrow back, and no circle among files. What each file names is
//! read of its paths, wherever they stand.

#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, Macro, Meta, UseTree};

/// The layers, from the one that knows all others.
const LAYERS: [&str; 4] = ["node", "sqlite", "engine", "core"];

/// What `core` and `engine` do not know: locks, cells, threads, clocks, SQLite and Node.
const UNKNOWN_TO_RULES: [&str; 17] = [
    "Mutex",
    "RwLock",
    "Condvar",
    "Once",
    "OnceLock",
    "LazyLock",
    "Cell",
    "RefCell",
    "UnsafeCell",
    "thread",
    "Instant",
    "SystemTime",
    "rusqlite",
    "napi",
    "tokio",
    "once_cell",
    "parking_lot",
];

type Names = Vec<String>;

/// A file: its module, and the paths that stand in it.
struct Source {
    path: PathBuf,
    module: Names,
    paths: Vec<Names>,
}

#[derive(Default)]
struct Paths(Vec<Names>);

impl Paths {
    fn add_tree(&mut self, tree: &UseTree, mut before: Names) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(&path.tree, before);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.0.push(before);
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.0.push(before);
            }
            UseTree::Glob(_) => self.0.push(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before.clone())),
        }
    }

    /// Of what a macro is given: every run of names with `::` in between.
    fn add_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let (mut path, mut colons) = (Names::new(), 0);
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.0.push(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Group(group) => {
                    self.0.push(std::mem::take(&mut path));
                    self.add_tokens(group.stream());
                }
                _ => self.0.push(std::mem::take(&mut path)),
            }
        }
        self.0.push(path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(item) => self.add_tree(&item.tree, Names::new()),
            // Unit tests may know anything.
            Item::Mod(ItemMod { attrs, .. }) if is_test(attrs) => {}
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.add_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

fn read(directory: &Path, module: &Names, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut module = module.clone();
        if path.is_dir() {
            module.push(name);
            read(&path, &module, sources);
            continue;
        }
        if name != "mod" && name != "lib" {
            module.push(name);
        }
        let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut paths = Paths::default();
        paths.visit_file(&file);
        sources.push(Source { path, module, paths: paths.0 });
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Names::new(), &mut sources);
    sources
}

/// A path from the crate's root, if it is one of this crate's.
fn absolute(module: &Names, path: &Names) -> Option<Names> {
    // `pub(super)` names no file.
    let [first, _, ..] = path.as_slice() else { return None };
    let mut from = module.clone();
    match first.as_str() {
        "crate" => from.clear(),
        "self" => {}
        "super" => drop(from.pop()),
        _ => return None,
    }
    for name in &path[1..] {
        match name.as_str() {
            "super" => drop(from.pop()),
            _ => from.push(name.clone()),
        }
    }
    Some(from)
}

/// The files that a file names, by module.
fn dependencies<'all>(source: &Source, modules: &BTreeMap<&'all Names, &'all Source>) -> BTreeSet<&'all Names> {
    let mut found = BTreeSet::new();
    for path in &source.paths {
        let Some(absolute) = absolute(&source.module, path) else { continue };
        // The longest module that it begins with.
        let target =
            (0..=absolute.len()).rev().find_map(|length| modules.get_key_value(&absolute[..length].to_vec()));
        found.extend(target.map(|(module, _)| *module).filter(|module| **module != source.module));
    }
    found
}

#[test]
fn layers_know_what_is_below_them() {
    let sources = sources();
    let modules: BTreeMap<&Names, &Source> = sources.iter().map(|source| (&source.module, source)).collect();
    let layer = |module: &Names| LAYERS.iter().position(|layer| module.first().is_some_and(|name| name == layer));
    let mut wrong = Vec::new();
    for source in &sources {
        let Some(own) = layer(&source.module) else { continue };
        for target in dependencies(source, &modules) {
            if layer(target).is_none_or(|target| target < own) {
                wrong.push(format!("{} names {}", source.module.join("::"), target.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let sources = sources();
    let modules: BTreeMap<&Names, &Source> = sources.iter().map(|source| (&source.module, source)).collect();
    // What knows nothing but what was taken out before is in no circle.
    let mut left: BTreeMap<&Names, BTreeSet<&Names>> =
        sources.iter().map(|source| (&source.module, dependencies(source, &modules))).collect();
    loop {
        let free: Vec<&Names> = left
            .iter()
            .filter(|(_, targets)| targets.iter().all(|target| !left.contains_key(*target)))
            .map(|(module, _)| *module)
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|module| drop(left.remove(*module)));
    }
    // And what nobody in a circle knows is not, either.
    loop {
        let known: BTreeSet<&Names> = left.values().flatten().copied().collect();
        let before = left.len();
        left.retain(|module, _| known.contains(*module));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<String> = left
        .iter()
        .map(|(module, targets)| {
            let targets: Vec<String> = targets
                .iter()
                .filter(|target| left.contains_key(**target))
                .map(|target| target.join("::"))
                .collect();
            format!("{} -> {}", module.join("::"), targets.join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn rules_know_no_lock_cell_thread_clock_sqlite_or_node() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.module.first().is_some_and(|layer| layer == "core" || layer == "engine") {
            continue;
        }
        for path in &source.paths {
            let unknown =
                path.iter().any(|name| UNKNOWN_TO_RULES.contains(&name.as_str()) || name.starts_with("Atomic"));
            if unknown {
                wrong.push(format!("{}: {}", source.path.display(), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
