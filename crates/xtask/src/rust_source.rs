//! One Rust file: its text, its syntax, its tokens and which of its lines are tests.

use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A Rust file, read and parsed once.
pub struct RustFile {
    /// Path relative to the root.
    pub path: String,
    /// The text as it stands.
    pub text: String,
    /// `None` where the text is not valid Rust.
    pub syntax: Option<syn::File>,
    /// All tokens; comments are gone, doc comments are string literals.
    pub tokens: TokenStream,
    tests: Vec<RangeInclusive<usize>>,
}

impl RustFile {
    /// Parses `text`.
    pub fn new(path: String, text: String) -> Self {
        let syntax = syn::parse_file(&text).ok();
        let tokens = text.parse().unwrap_or_default();
        let mut finder = TestFinder { ranges: Vec::new() };
        if let Some(file) = &syntax {
            if file.attrs.iter().any(is_test_attribute) {
                finder.ranges.push(1..=usize::MAX);
            }
            finder.visit_file(file);
        }
        Self { path, text, syntax, tokens, tests: finder.ranges }
    }

    /// Whether this line belongs to a test: a test file, a `#[cfg(test)]` item, a `#[test]`.
    pub fn is_test(&self, line: usize) -> bool {
        is_test_path(&self.path) || self.tests.iter().any(|range| range.contains(&line))
    }

    /// Calls `look` with every token and the tokens that stand beside it.
    pub fn each_token(&self, look: &mut dyn FnMut(&[TokenTree], usize)) {
        walk(self.tokens.clone(), look);
    }
}

/// Whether a whole file is test code by where it stands.
pub fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}

/// Whether `tokens[at]` is this punctuation mark; false past the end.
pub fn is_punct(tokens: &[TokenTree], at: usize, mark: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Whether `tokens[at]` is this word; false past the end.
pub fn is_ident(tokens: &[TokenTree], at: usize, word: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word)
}

/// The line on which a token begins.
pub fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn walk(stream: TokenStream, look: &mut dyn FnMut(&[TokenTree], usize)) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for at in 0..tokens.len() {
        look(&tokens, at);
        if let TokenTree::Group(group) = &tokens[at] {
            walk(group.stream(), look);
        }
    }
}

struct TestFinder {
    ranges: Vec<RangeInclusive<usize>>,
}

impl TestFinder {
    fn note(&mut self, attributes: &[syn::Attribute], item: &dyn syn::spanned::Spanned) {
        if attributes.iter().any(is_test_attribute) {
            let span = item.span();
            self.ranges.push(span.start().line..=span.end().line);
        }
    }
}

impl<'ast> Visit<'ast> for TestFinder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.note(&item.attrs, item);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.attrs, item);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.note(&item.attrs, item);
        visit::visit_item_impl(self, item);
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, but not `#[cfg(not(test))]`.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    if path.segments.last().is_some_and(|segment| segment.ident == "test") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let mut says_test = false;
    let mut says_not = false;
    walk(list.tokens.clone(), &mut |tokens, at| {
        says_test |= is_ident(tokens, at, "test");
        says_not |= is_ident(tokens, at, "not");
    });
    path.is_ident("cfg") && says_test && !says_not
}
