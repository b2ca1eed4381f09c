//! Migrations stay in their own schema, and each table states its class.

use sqlparser::ast::{
    AlterTableOperation, ColumnDef, ColumnOption, ForeignKeyConstraint, ObjectName, SchemaName,
    Statement, TableConstraint,
};

use crate::catalogue::{CLASSES, Catalogue};
use crate::finding::Finding;
use crate::rules::sql::{may_name, time_word};
use crate::sql_text::{self, Bodies, Piece};
use crate::statement::{self, Name};
use crate::tree::{Home, Migration, Tree};

/// Reports what is wrong with migrations, apart from keys and indexes.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for migration in &tree.migrations {
        let Some(schema) = migration.home.schema() else {
            continue;
        };
        for piece in &migration.pieces {
            let mut checker =
                Checker { catalogue: &tree.catalogue, migration, piece, schema, findings };
            checker.check_text();
            // What cannot be parsed is skipped: functions are PostgreSQL's own business.
            for statement in statement::parse(&piece.text).unwrap_or_default() {
                checker.check_statement(&statement);
            }
        }
    }
}

struct Checker<'a> {
    catalogue: &'a Catalogue,
    migration: &'a Migration,
    piece: &'a Piece,
    schema: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Checker<'_> {
    fn report(&mut self, line: usize, message: String, advice: &str) {
        self.findings.push(Finding::new(&self.migration.path, line, message, advice));
    }

    fn is_module(&self) -> bool {
        matches!(self.migration.home, Home::Module(_))
    }

    fn check_text(&mut self) {
        let masked = sql_text::mask(&self.piece.text, Bodies::AreCode);
        let words: Vec<String> =
            sql_text::words(&masked).map(|(_, word)| word.to_lowercase()).collect();
        let makes_type = words.starts_with(&["create".to_owned(), "type".to_owned()]);
        if makes_type && words.windows(2).any(|pair| pair[0] == "as" && pair[1] == "enum") {
            self.report(
                self.piece.line,
                "an enum's index is not used under row-level security".to_owned(),
                "use `text check (column in (…))`",
            );
        }
        if !self.is_module() {
            return;
        }
        if let Some((offset, word)) = time_word(&masked) {
            // The piece begins with its comments; the line counts from the statement's own.
            let first = masked.len() - masked.trim_start().len();
            let line = self.piece.line + sql_text::line_of(&masked[first..], offset - first) - 1;
            self.report(
                line,
                format!("a module's migration says `{word}`"),
                "let the code write `tx.now()`, so that test clocks work",
            );
        }
    }

    fn check_statement(&mut self, statement: &Statement) {
        if self.is_module() {
            for name in changed_objects(statement) {
                self.check_own(&Name::new(name));
            }
            self.check_other_schemas(statement);
            if let Statement::CreateSchema {
                schema_name: SchemaName::Simple(name) | SchemaName::NamedAuthorization(name, _),
                ..
            } = statement
            {
                self.check_new_schema(&Name::new(name));
            }
        }
        for key in foreign_keys(statement) {
            self.check_foreign_key(key);
        }
        if let Statement::CreateTable(table) = statement {
            self.check_class(&Name::new(&table.name).full());
        }
    }

    fn check_own(&mut self, name: &Name) {
        if name.schema.as_deref() != Some(self.schema) {
            self.report(
                self.piece.line,
                format!("`{}` is not in the module's own schema", name.full()),
                &format!("a module makes and changes only what is named `{}.…`", self.schema),
            );
        }
    }

    fn check_new_schema(&mut self, name: &Name) {
        if name.name != self.schema {
            self.report(
                self.piece.line,
                format!("the schema `{}` is not the module's own", name.name),
                &format!("a module's schema has its name: `{}`", self.schema),
            );
        }
    }

    fn check_other_schemas(&mut self, statement: &Statement) {
        // What the statement itself makes or changes has been looked at already.
        let changed: Vec<Name> = changed_objects(statement).into_iter().map(Name::new).collect();
        let names = statement::names(statement);
        for name in names.tables.iter().filter(|name| !changed.contains(name)) {
            let schema = name.schema.as_deref();
            if schema.is_none_or(|schema| !may_name(self.schema, schema)) {
                self.report(
                    self.piece.line,
                    format!("`{}` is not a table of `{}` or `core`", name.full(), self.schema),
                    "a migration reads its own schema and the kernel's only",
                );
            }
        }
    }

    fn check_foreign_key(&mut self, key: &ForeignKeyConstraint) {
        let target = Name::new(&key.foreign_table);
        let schema = target.schema.as_deref();
        if schema != Some("core") && schema != Some(self.schema) {
            self.report(
                self.piece.line,
                format!("a foreign key points to `{}`", target.full()),
                "point to `core.*` or the own schema; keep ids of other modules as plain columns",
            );
        }
    }

    fn check_class(&mut self, table: &str) {
        let class = self.catalogue.classes.get(table);
        if self.is_module() && class.is_none_or(|class| !CLASSES.contains(&class.as_str())) {
            self.report(
                self.piece.line,
                format!("`{table}` does not state its class"),
                &format!(
                    "add `comment on table {table} is '<class>: …'`, class one of {}",
                    CLASSES.join(", ")
                ),
            );
        }
    }
}

/// What a statement makes, changes or drops.
fn changed_objects(statement: &Statement) -> Vec<&ObjectName> {
    match statement {
        // A partition or a table made from a query is a table like any other.
        Statement::CreateTable(table) => vec![&table.name],
        Statement::AlterTable(alter) => vec![&alter.name],
        Statement::CreateIndex(index) => vec![&index.table_name],
        Statement::CreateView(view) => vec![&view.name],
        Statement::CreateFunction(function) => vec![&function.name],
        Statement::CreateTrigger(trigger) => vec![&trigger.table_name],
        Statement::CreatePolicy(policy) => vec![&policy.table_name],
        Statement::CreateSequence { name, .. } | Statement::CreateType { name, .. } => vec![name],
        Statement::Drop { names, .. } => names.iter().filter(|name| name.0.len() > 1).collect(),
        _ => Vec::new(),
    }
}

fn foreign_keys(statement: &Statement) -> Vec<&ForeignKeyConstraint> {
    match statement {
        Statement::CreateTable(table) => {
            let columns = table.columns.iter().flat_map(keys_of_column);
            columns.chain(table.constraints.iter().filter_map(key_of_constraint)).collect()
        }
        Statement::AlterTable(alter) => alter
            .operations
            .iter()
            .flat_map(|operation| match operation {
                AlterTableOperation::AddConstraint { constraint, .. } => {
                    key_of_constraint(constraint).into_iter().collect()
                }
                AlterTableOperation::AddColumn { column_def, .. } => keys_of_column(column_def),
                _ => Vec::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn keys_of_column(column: &ColumnDef) -> Vec<&ForeignKeyConstraint> {
    let options = column.options.iter().map(|option| &option.option);
    options
        .filter_map(|option| match option {
            ColumnOption::ForeignKey(key) => Some(key),
            _ => None,
        })
        .collect()
}

fn key_of_constraint(constraint: &TableConstraint) -> Option<&ForeignKeyConstraint> {
    match constraint {
        TableConstraint::ForeignKey(key) => Some(key),
        _ => None,
    }
}
