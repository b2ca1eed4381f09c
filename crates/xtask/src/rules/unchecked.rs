//! SQL that no build checks, code that is not finished, code that may panic.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenTree};
use syn::visit::Visit;

use crate::finding::Finding;
use crate::rust_source::{self, RustFile, is_ident, is_punct};
use crate::tree::Tree;

/// Functions and types of sqlx that take SQL no build has checked.
const UNCHECKED: [&str; 4] = ["query", "query_as", "query_scalar", "raw_sql"];

/// The same as macros; `query!` without the ending is the checked one.
const UNCHECKED_ENDING: &str = "_unchecked";

/// Where unchecked SQL is at home.
const ALLOWED: [&str; 6] = [
    "crates/kernel/src/database/",
    "crates/kernel/src/migrate.rs",
    "crates/proof/",
    "crates/testkit/",
    "bench/",
    "crates/xtask/",
];

/// Macros that mark unfinished work.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Reports unchecked SQL, unfinished code and unwraps.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.rust {
        let imported = imported_from_sqlx(file);
        let may_be_unchecked = ALLOWED.iter().any(|place| file.path.starts_with(place))
            || file.path.split('/').any(|part| part == "tests");
        file.each_token(&mut |tokens, at| {
            let line = rust_source::line(&tokens[at]);
            let mut report = |message: String, advice: &str| {
                findings.push(Finding::new(&file.path, line, message, advice));
            };
            if let Some(name) = unchecked_sql(tokens, at, &imported).filter(|_| !may_be_unchecked) {
                report(
                    format!("`{name}` takes SQL that no build checks"),
                    "use `query!`, `query_as!` or `query_scalar!`",
                );
            }
            if let Some(name) = unfinished(tokens, at) {
                report(format!("`{name}!` is left in the code"), "finish it or take it out");
            }
            if is_unwrap(tokens, at) && !file.is_test(line) {
                report(
                    "`.unwrap()` outside tests".to_owned(),
                    "return the error with `?`, or handle the empty case",
                );
            }
        });
    }
}

/// The name of the unchecked way to hand SQL to sqlx that stands at this token.
fn unchecked_sql(tokens: &[TokenTree], at: usize, imported: &BTreeSet<String>) -> Option<String> {
    let TokenTree::Ident(ident) = &tokens[at] else {
        return None;
    };
    let name = ident.to_string();
    if name == "AssertSqlSafe" {
        return Some(name);
    }
    if name.starts_with("query") && name.ends_with(UNCHECKED_ENDING) {
        return is_punct(tokens, at + 1, '!').then_some(name);
    }
    if !UNCHECKED.contains(&name.as_str()) || !is_called(tokens, at) {
        return None;
    }
    let after_path = at >= 2 && is_punct(tokens, at - 1, ':') && is_punct(tokens, at - 2, ':');
    let of_sqlx = after_path && at >= 3 && is_ident(tokens, at - 3, "sqlx");
    let is_method = at >= 1 && (is_punct(tokens, at - 1, '.') || is_ident(tokens, at - 1, "fn"));
    let bare = !after_path && !is_method && imported.contains(&name);
    (of_sqlx || bare).then_some(name)
}

/// Whether `name(…)` or `name::<…>(…)` begins here.
fn is_called(tokens: &[TokenTree], at: usize) -> bool {
    let parenthesis = matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
        if group.delimiter() == Delimiter::Parenthesis);
    let turbofish = is_punct(tokens, at + 1, ':')
        && is_punct(tokens, at + 2, ':')
        && is_punct(tokens, at + 3, '<');
    parenthesis || turbofish
}

fn unfinished(tokens: &[TokenTree], at: usize) -> Option<&'static str> {
    let is_macro =
        is_punct(tokens, at + 1, '!') && matches!(tokens.get(at + 2), Some(TokenTree::Group(_)));
    UNFINISHED.into_iter().find(|name| is_macro && is_ident(tokens, at, name))
}

fn is_unwrap(tokens: &[TokenTree], at: usize) -> bool {
    let no_arguments = matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
        if group.delimiter() == Delimiter::Parenthesis && group.stream().is_empty());
    at >= 1 && is_punct(tokens, at - 1, '.') && is_ident(tokens, at, "unwrap") && no_arguments
}

/// The names that `use sqlx::…` brings into a file.
fn imported_from_sqlx(file: &RustFile) -> BTreeSet<String> {
    struct Imports(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Imports {
        fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
            if path.ident == "sqlx" {
                self.collect(&path.tree);
            }
        }
    }
    impl Imports {
        fn collect(&mut self, tree: &syn::UseTree) {
            match tree {
                syn::UseTree::Path(path) => self.collect(&path.tree),
                syn::UseTree::Name(name) => {
                    self.0.insert(name.ident.to_string());
                }
                syn::UseTree::Group(group) => {
                    group.items.iter().for_each(|item| self.collect(item));
                }
                syn::UseTree::Rename(_) | syn::UseTree::Glob(_) => {}
            }
        }
    }
    let mut imports = Imports(BTreeSet::new());
    if let Some(syntax) = &file.syntax {
        imports.visit_file(syntax);
    }
    imports.0
}
