//! The rules, one file per group.

pub mod dependencies;
pub mod files;
pub mod migration_keys;
pub mod migrations;
pub mod sql;
pub mod unchecked;
pub mod writers;

use crate::finding::Finding;
use crate::tree::Tree;

/// A group of rules: looks at the tree and adds what it finds.
pub type Check = fn(&Tree, &mut Vec<Finding>);

/// All groups.
pub const ALL: [Check; 7] = [
    dependencies::check,
    files::check,
    sql::check,
    migrations::check,
    migration_keys::check,
    writers::check,
    unchecked::check,
];
