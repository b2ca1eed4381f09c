#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod checked_queries;
pub mod finding;
pub mod lost_predicates;
pub mod new_module;
pub mod parser_gaps;
pub mod queries;
pub mod rules;
pub mod rust_source;
pub mod scope;
pub mod sql_text;
pub mod statement;
pub mod tenant_predicate;
pub mod tree;

use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::tree::Tree;

/// Everything that is wrong in the repository at `root`, in the order of the files.
pub fn tidy(root: &Path) -> Result<Vec<Finding>> {
    let tree = Tree::load(root)?;
    let mut findings = Vec::new();
    for check in rules::ALL {
        check(&tree, &mut findings);
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}
