//! On a table with a tenant, every key and every index begins with the tenant.

use sqlparser::ast::{
    ColumnOption, CreateIndex, CreateTable, IndexColumn, Statement, TableConstraint,
};

use crate::catalogue::Catalogue;
use crate::finding::Finding;
use crate::scope::TENANT_COLUMN;
use crate::statement::{self, Name, fold};
use crate::tree::Tree;

/// Reports keys and indexes that do not begin with the tenant.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for migration in &tree.migrations {
        for piece in &migration.pieces {
            let mut report = |message: String| {
                findings.push(Finding::new(
                    &migration.path,
                    piece.line,
                    message,
                    "put `tenant_id` first, or give the table another class in its comment",
                ));
            };
            for statement in statement::parse(&piece.text).unwrap_or_default() {
                match &statement {
                    Statement::CreateTable(table) => {
                        check_table(table, &tree.catalogue, &mut report);
                    }
                    Statement::CreateIndex(index) => {
                        check_index(index, &tree.catalogue, &mut report);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn check_table(table: &CreateTable, catalogue: &Catalogue, report: &mut dyn FnMut(String)) {
    let name = Name::new(&table.name).full();
    let has_tenant = table.columns.iter().any(|column| fold(&column.name) == "tenant_id");
    if !has_tenant || !catalogue.may_be_tenant(&name) {
        return;
    }
    let primary = primary_key(table).or_else(|| catalogue.added_keys.get(&name).cloned());
    if primary.as_deref() != Some("tenant_id") {
        report(format!("the primary key of `{name}` does not begin with `tenant_id`"));
    }
    for first in unique_keys(table) {
        if first != "tenant_id" {
            report(format!("a unique key of `{name}` begins with `{first}`"));
        }
    }
}

fn check_index(index: &CreateIndex, catalogue: &Catalogue, report: &mut dyn FnMut(String)) {
    let table = Name::new(&index.table_name).full();
    if !catalogue.tenant_tables.contains(&table) || !catalogue.may_be_tenant(&table) {
        return;
    }
    let first = first_column(&index.columns);
    if first != TENANT_COLUMN {
        report(format!("an index on the tenant table `{table}` begins with `{first}`"));
    }
}

/// The first column of the primary key that is declared with the table.
fn primary_key(table: &CreateTable) -> Option<String> {
    let declared = table.constraints.iter().find_map(|constraint| match constraint {
        TableConstraint::PrimaryKey(key) => Some(first_column(&key.columns)),
        _ => None,
    });
    declared.or_else(|| {
        let of_column = |option: &ColumnOption| matches!(option, ColumnOption::PrimaryKey(_));
        columns_with(table, of_column).into_iter().next()
    })
}

/// The first column of each unique key that is declared with the table.
fn unique_keys(table: &CreateTable) -> Vec<String> {
    let declared = table.constraints.iter().filter_map(|constraint| match constraint {
        TableConstraint::Unique(key) => Some(first_column(&key.columns)),
        _ => None,
    });
    let of_column = |option: &ColumnOption| matches!(option, ColumnOption::Unique(_));
    declared.chain(columns_with(table, of_column)).collect()
}

fn columns_with(table: &CreateTable, wanted: impl Fn(&ColumnOption) -> bool) -> Vec<String> {
    let columns = table.columns.iter();
    columns
        .filter(|column| column.options.iter().any(|option| wanted(&option.option)))
        .map(|column| fold(&column.name))
        .collect()
}

fn first_column(columns: &[IndexColumn]) -> String {
    columns.first().map(|column| column.column.expr.to_string()).unwrap_or_default()
}
