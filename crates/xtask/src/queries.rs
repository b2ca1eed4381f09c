//! Finds the SQL that stands in sqlx's checked macros.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::rust_source::{self, RustFile};

/// The names of sqlx's macros that take SQL as text.
const TEXT_MACROS: [&str; 6] = [
    "query",
    "query_as",
    "query_scalar",
    "query_unchecked",
    "query_as_unchecked",
    "query_scalar_unchecked",
];

/// The names of sqlx's macros that take the path of a file with SQL.
const FILE_MACROS: [&str; 6] = [
    "query_file",
    "query_file_as",
    "query_file_scalar",
    "query_file_unchecked",
    "query_file_as_unchecked",
    "query_file_scalar_unchecked",
];

/// One statement handed to sqlx.
pub struct Query {
    /// The file that holds the SQL: the Rust file, or the SQL file it names.
    pub path: String,
    /// The line on which the SQL begins.
    pub line: usize,
    /// The SQL, or `None` where the named file cannot be read.
    pub sql: Option<String>,
    /// Whether the Rust file speaks of a transaction type that crosses tenants.
    pub crosses_tenants: bool,
}

/// All SQL of one Rust file. `crate_folder` is what `query_file!` paths are relative to.
pub fn find(file: &RustFile, root: &Path, crate_folder: &str) -> Vec<Query> {
    let crosses_tenants = mentions_wide_transaction(file);
    let mut queries = Vec::new();
    file.each_token(&mut |tokens, at| {
        let TokenTree::Ident(name) = &tokens[at] else {
            return;
        };
        let name = name.to_string();
        let from_file = FILE_MACROS.contains(&name.as_str());
        if !from_file && !TEXT_MACROS.contains(&name.as_str()) {
            return;
        }
        if !rust_source::is_punct(tokens, at + 1, '!') {
            return;
        }
        let Some(TokenTree::Group(arguments)) = tokens.get(at + 2) else {
            return;
        };
        let Some((line, text)) = first_text(arguments.stream()) else {
            return;
        };
        let query = if from_file {
            let path = format!("{crate_folder}/{text}");
            let sql = fs::read_to_string(root.join(&path)).ok();
            Query { path, line: 1, sql, crosses_tenants }
        } else {
            Query { path: file.path.clone(), line, sql: Some(text), crosses_tenants }
        };
        queries.push(query);
    });
    queries
}

/// The first string literal, with those added to it by `+`, as sqlx reads them.
fn first_text(arguments: TokenStream) -> Option<(usize, String)> {
    let mut found: Option<(usize, String)> = None;
    let mut joined = true;
    for token in arguments {
        let literal = text_of(&token);
        match (&mut found, literal) {
            (None, Some(text)) => found = Some((rust_source::line(&token), text)),
            (Some((_, sql)), Some(text)) if joined => sql.push_str(&text),
            (Some(_), None) if matches!(&token, TokenTree::Punct(p) if p.as_char() == '+') => {
                joined = true;
                continue;
            }
            (Some(_), _) => break,
            (None, None) => {}
        }
        joined = false;
    }
    found
}

fn text_of(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Literal(literal) => match syn::Lit::new(literal.clone()) {
            syn::Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        // A literal that came through another macro is wrapped in an invisible group.
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            group.stream().into_iter().next().as_ref().and_then(text_of)
        }
        _ => None,
    }
}

fn mentions_wide_transaction(file: &RustFile) -> bool {
    let mut found = false;
    file.each_token(&mut |tokens, at| {
        for name in ["AccountTx", "PlatformTx", "SystemTx", "account_tx", "platform_tx"] {
            found |= rust_source::is_ident(tokens, at, name);
        }
    });
    found
}
