//! Parsed SQL and the plain questions asked of it: which tables, which functions, what it writes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FromTable, Ident, ObjectName, Query, Statement, TableFactor, TableObject, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};

use crate::parser_gaps;

/// What a statement does to a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `insert`
    Insert,
    /// `update`
    Update,
    /// `delete`
    Delete,
}

/// A name with its schema, if one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The schema as written.
    pub schema: Option<String>,
    /// The last part.
    pub name: String,
}

impl Name {
    /// Reads the last two parts of a name; a database in front of them is of no interest.
    pub fn new(name: &ObjectName) -> Self {
        let parts: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect();
        let last = parts.last().cloned().unwrap_or_default();
        let schema = parts.len().checked_sub(2).and_then(|at| parts.get(at)).cloned();
        Self { schema, name: last }
    }

    /// `schema.table`, or the bare name.
    pub fn full(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Everything a piece of SQL names.
#[derive(Default)]
pub struct Names {
    /// Tables and views read or written; names of `with` queries are left out.
    pub tables: Vec<Name>,
    /// Functions called.
    pub functions: Vec<Name>,
    /// Tables written, and how.
    pub writes: Vec<(Verb, Name)>,
    with_queries: BTreeSet<String>,
}

/// Parses SQL as PostgreSQL.
pub fn parse(sql: &str) -> Result<Vec<Statement>, ParserError> {
    Parser::parse_sql(&PostgreSqlDialect {}, &parser_gaps::without(sql))
}

/// An identifier as PostgreSQL understands it: lower case unless quoted.
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// What one statement names, at any depth.
pub fn names(statement: &Statement) -> Names {
    let mut names = Names::default();
    let _ = statement.visit(&mut names);
    let Names { tables, with_queries, .. } = &mut names;
    tables.retain(|table| table.schema.is_some() || !with_queries.contains(&table.name));
    names
}

/// The table a delete takes rows from.
pub fn delete_target(from: &FromTable) -> Option<&TableFactor> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = from;
    tables.first().map(|table| &table.relation)
}

impl Names {
    fn write(&mut self, verb: Verb, target: Option<&TableFactor>) {
        if let Some(TableFactor::Table { name, .. }) = target {
            self.writes.push((verb, Name::new(name)));
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with_queries.extend(with.map(|cte| fold(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.tables.push(Name::new(name)),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                self.functions.push(Name::new(name));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.functions.push(Name::new(&function.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => {
                if let TableObject::TableName(name) = &insert.table {
                    self.tables.push(Name::new(name));
                    self.writes.push((Verb::Insert, Name::new(name)));
                }
            }
            Statement::Update(update) => self.write(Verb::Update, Some(&update.table.relation)),
            Statement::Delete(delete) => self.write(Verb::Delete, delete_target(&delete.from)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
