//! Names and sizes of files, sizes of functions, first lines, lower-case SQL.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::finding::Finding;
use crate::rust_source::RustFile;
use crate::sql_text::{self, Bodies};
use crate::tree::{TextFile, Tree};

const MOST_LINES_OF_A_FILE: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 70;
/// Without comments, blank lines and unit tests; docs/adr/0010 says why so many.
const MOST_LINES_OF_THE_KERNEL: usize = 11_700;
const KERNEL: &str = "crates/kernel/src/";
/// What follows it in a file are its unit tests.
const UNIT_TESTS: &str = "#[cfg(test)]\nmod tests";

/// Names that say where something was put instead of what it is.
pub const EMPTY_NAMES: [&str; 11] = [
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "manager",
    "managers",
    "service",
    "services",
    "misc",
    "repository",
];

/// Keywords looked for in migrations; a column is never called so in upper case.
const KEYWORDS: [&str; 44] = [
    "ADD",
    "ALTER",
    "AND",
    "AS",
    "BEGIN",
    "CHECK",
    "COLUMN",
    "COMMENT",
    "CONSTRAINT",
    "CREATE",
    "DEFAULT",
    "DELETE",
    "DROP",
    "END",
    "EXISTS",
    "FOREIGN",
    "FROM",
    "FUNCTION",
    "GRANT",
    "IF",
    "IN",
    "INDEX",
    "INSERT",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "POLICY",
    "PRIMARY",
    "REFERENCES",
    "RETURNS",
    "SELECT",
    "SET",
    "TABLE",
    "TO",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VALUES",
    "WHERE",
];

/// Reports what is wrong with files as files.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for name in &tree.names {
        check_name(name, findings);
    }
    for file in &tree.rust {
        check_length(&file.path, &file.text, findings);
        check_rust(file, findings);
    }
    check_kernel(tree, findings);
    for file in &tree.texts {
        if file.path.ends_with(".sql") {
            check_keywords(file, findings);
        } else {
            check_length(&file.path, &file.text, findings);
        }
    }
}

fn check_kernel(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_code = |line: &&str| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//")
    };
    let files = tree.rust.iter().filter(|file| file.path.starts_with(KERNEL));
    let code = files.map(|file| file.text.split(UNIT_TESTS).next().unwrap_or_default());
    let lines: usize = code.map(|text| text.lines().filter(is_code).count()).sum();
    if lines > MOST_LINES_OF_THE_KERNEL {
        findings.push(Finding::new(
            "crates/kernel/src/lib.rs",
            1,
            format!("{lines} lines of code are more than the kernel's {MOST_LINES_OF_THE_KERNEL}"),
            "take out what a module could own, or say in docs/adr/0010 why it must be more",
        ));
    }
}

fn check_name(path: &str, findings: &mut Vec<Finding>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let named_by_us = ["", "rs", "ts", "tsx", "sql"]
        .iter()
        .any(|known| extension.rsplit('.').next() == Some(known));
    if named_by_us && EMPTY_NAMES.contains(&stem) {
        findings.push(Finding::new(
            path,
            1,
            format!("`{stem}` says nothing about what is inside"),
            "name it after what it does, or put the code where it is used",
        ));
    }
}

fn check_length(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let lines = text.lines().count();
    if lines > MOST_LINES_OF_A_FILE {
        findings.push(Finding::new(
            path,
            MOST_LINES_OF_A_FILE + 1,
            format!("{lines} lines are more than {MOST_LINES_OF_A_FILE}"),
            "split the file by resource or by step",
        ));
    }
}

fn check_rust(file: &RustFile, findings: &mut Vec<Finding>) {
    let first = file.text.lines().next().unwrap_or_default();
    let is_root = file.path.ends_with("/lib.rs") || file.path.ends_with("/main.rs");
    let includes = first.starts_with("#![doc = include_str!(") && is_root;
    if !first.starts_with("//!") && !includes {
        findings.push(Finding::new(
            &file.path,
            1,
            "the first line does not say what the file is for",
            "begin with `//! …`",
        ));
    }
    match &file.syntax {
        Some(syntax) => FunctionLengths { path: &file.path, findings }.visit_file(syntax),
        None => findings.push(Finding::new(
            &file.path,
            1,
            "this is not valid Rust, so no rule was checked in it",
            "make it compile",
        )),
    }
}

/// One finding a line is enough: whoever fixes it sees the rest.
fn check_keywords(file: &TextFile, findings: &mut Vec<Finding>) {
    if !file.path.contains("/migrations/") {
        return;
    }
    let masked = sql_text::mask(&file.text, Bodies::AreCode);
    for (index, line) in masked.lines().enumerate() {
        let shouted = sql_text::words(line).find(|(_, word)| KEYWORDS.contains(word));
        if let Some((_, word)) = shouted {
            findings.push(Finding::new(
                &file.path,
                index + 1,
                format!("`{word}` is in upper case"),
                "write SQL keywords in lower case",
            ));
        }
    }
}

struct FunctionLengths<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl FunctionLengths<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let lines = block.span().end().line.saturating_sub(first) + 1;
        if lines > MOST_LINES_OF_A_FUNCTION {
            self.findings.push(Finding::new(
                self.path,
                first,
                format!(
                    "`{}` has {lines} lines, more than {MOST_LINES_OF_A_FUNCTION}",
                    signature.ident
                ),
                "move a step into a function of its own",
            ));
        }
    }
}

impl<'ast> Visit<'ast> for FunctionLengths<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}
