//! What all migrations together say about tables: their class, their tenant, their keys.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::{AlterTableOperation, CommentObject, Statement, TableConstraint};

use crate::sql_text::{self, Bodies};
use crate::statement::{self, Name};
use crate::tree::Migration;

/// The classes a table may have.
pub const CLASSES: [&str; 5] = ["tenant", "global", "claims", "reference", "infrastructure"];

/// Facts about tables, by full name.
#[derive(Default)]
pub struct Catalogue {
    /// Tables given to `core.tenant_table(…)`.
    pub tenant_tables: BTreeSet<String>,
    /// The class in the comment of a table.
    pub classes: BTreeMap<String, String>,
    /// Primary keys added after the table was made: the first column of each.
    pub added_keys: BTreeMap<String, String>,
}

impl Catalogue {
    /// Reads all migrations.
    pub fn read(migrations: &[Migration]) -> Self {
        let mut catalogue = Self::default();
        for piece in migrations.iter().flat_map(|migration| &migration.pieces) {
            catalogue.read_tenant_tables(&piece.text);
            for statement in statement::parse(&piece.text).unwrap_or_default() {
                catalogue.read_statement(&statement);
            }
        }
        catalogue
    }

    /// Works on text, so that a call in a body or next to something unparsed counts as well.
    fn read_tenant_tables(&mut self, sql: &str) {
        let masked = sql_text::mask(sql, Bodies::AreCode);
        for (offset, word) in sql_text::words(&masked) {
            if word != "tenant_table" {
                continue;
            }
            let rest = sql[offset + word.len()..].trim_start();
            let argument = rest.strip_prefix('(').map(str::trim_start);
            let quoted = argument.and_then(|argument| argument.strip_prefix('\''));
            if let Some((table, _)) = quoted.and_then(|quoted| quoted.split_once('\'')) {
                self.tenant_tables.insert(table.to_owned());
            }
        }
    }

    fn read_statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Comment {
                object_type: CommentObject::Table,
                object_name,
                comment: Some(comment),
                ..
            } => {
                let class = comment.split_once(':').map_or("", |(class, _)| class.trim());
                self.classes.insert(Name::new(object_name).full(), class.to_owned());
            }
            Statement::AlterTable(alter) => {
                for operation in &alter.operations {
                    let AlterTableOperation::AddConstraint {
                        constraint: TableConstraint::PrimaryKey(key),
                        ..
                    } = operation
                    else {
                        continue;
                    };
                    let first = key.columns.first().map(|column| column.column.expr.to_string());
                    let table = Name::new(&alter.name).full();
                    self.added_keys.insert(table, first.unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    /// Whether the rules for tenant tables hold: no other class is declared.
    pub fn may_be_tenant(&self, table: &str) -> bool {
        self.classes.get(table).is_none_or(|class| class == "tenant")
    }
}
