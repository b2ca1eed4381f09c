//! Does every tenant table of a statement carry a predicate on its tenant?
//!
//! A table is tied to a tenant by `tenant_id = $1`, or by an equality with the tenant of a source
//! that is tied itself: another table, an outer query's table, a `with` query or a subquery that
//! carries the tenant through.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Insert, Query, Select, SelectItem, Statement, TableFactor, TableObject,
    Visit, Visitor,
};

use crate::scope::{Bound, Column, Equality, Kind, Reach, Scope, Side, TENANT_COLUMN, side};
use crate::statement::{Name, fold};

/// What is wrong with a statement: one sentence per table.
pub fn missing(statement: &Statement, tenant_tables: &BTreeSet<String>) -> Vec<String> {
    let mut checker =
        Checker { tenant_tables, carriers: BTreeSet::new(), frames: Vec::new(), found: Vec::new() };
    let _ = statement.visit(&mut checker);
    checker.found
}

/// What an inner query may know of the one around it.
struct Frame {
    /// The alias of each source.
    aliases: Vec<String>,
    bound: Bound,
}

struct Checker<'a> {
    tenant_tables: &'a BTreeSet<String>,
    /// Names of `with` queries that carry a tenant.
    carriers: BTreeSet<String>,
    frames: Vec<Frame>,
    found: Vec<String>,
}

impl Checker<'_> {
    fn enter(&mut self, scope: &Scope<'_>) {
        let aliases = scope.sources.iter().map(|source| source.alias.clone()).collect();
        let bound = scope.sources.iter().filter(|source| match &source.kind {
            Kind::Subquery(query) => carries_tenant(query, &self.carriers),
            Kind::Bare(name) => self.carriers.contains(name),
            Kind::Table(_) | Kind::Other => false,
        });
        let bound = bound.map(|source| source.alias.clone()).collect();
        self.frames.push(Frame { aliases, bound });
        // Each round may tie one more table, which the next equality then leans on.
        while self.bind_once(scope) {}
        let Some(frame) = self.frames.last() else {
            return;
        };
        for source in &scope.sources {
            let Kind::Table(table) = &source.kind else {
                continue;
            };
            if self.tenant_tables.contains(table) && !frame.bound.contains(&source.alias) {
                let alias = &source.alias;
                let missing = format!("`{table}` is used without `{alias}.{TENANT_COLUMN} = $1`");
                self.found.push(missing);
            }
        }
    }

    fn bind_once(&mut self, scope: &Scope<'_>) -> bool {
        scope.equalities.iter().any(|equality| self.bind(scope, equality))
    }

    /// Whether this equality has tied a source that was loose before.
    fn bind(&mut self, scope: &Scope<'_>, equality: &Equality) -> bool {
        let Equality { left, right, reach } = equality;
        let loose = match (self.is_bound(scope, left), self.is_bound(scope, right)) {
            (true, false) => right,
            (false, true) => left,
            _ => return false,
        };
        let Side::Column(column) = loose else {
            return false;
        };
        let Some(alias) = self.own_alias(scope, column) else {
            return false;
        };
        let reached = match reach {
            Reach::All => true,
            Reach::Only(only) => *only == alias,
            Reach::Nobody => false,
        };
        let Some(frame) = self.frames.last_mut() else {
            return false;
        };
        reached && frame.bound.insert(alias)
    }

    fn is_bound(&self, scope: &Scope<'_>, side: &Side) -> bool {
        let column = match side {
            Side::Parameter => return true,
            Side::Column(column) => column,
        };
        if let Some(alias) = self.own_alias(scope, column) {
            return self.frames.last().is_some_and(|frame| frame.bound.contains(&alias));
        }
        let Some(qualifier) = &column.qualifier else {
            return false;
        };
        // The nearest outer query that knows the alias decides.
        let outer = self.frames.iter().rev().skip(1).find(|f| f.aliases.contains(qualifier));
        column.name == TENANT_COLUMN && outer.is_some_and(|f| f.bound.contains(qualifier))
    }

    /// The source of this scope whose tenant the column names.
    fn own_alias(&self, scope: &Scope<'_>, column: &Column) -> Option<String> {
        let fits = |alias: &str| match &column.qualifier {
            Some(qualifier) => qualifier == alias,
            None => true,
        };
        let mut sources =
            scope.sources.iter().filter(|s| fits(&s.alias) && column.name == TENANT_COLUMN);
        if scope.sources.len() > 1 && column.qualifier.is_none() {
            // PostgreSQL refuses an ambiguous name, so at most one of them has the column.
            return sources
                .find(|s| matches!(&s.kind, Kind::Table(t) if self.tenant_tables.contains(t)))
                .map(|source| source.alias.clone());
        }
        sources.next().map(|source| source.alias.clone())
    }

    fn check_insert(&mut self, insert: &Insert) {
        let TableObject::TableName(name) = &insert.table else {
            return;
        };
        let table = Name::new(name).full();
        let key = TENANT_COLUMN;
        let named = insert.columns.iter().any(|column| Name::new(column).name == key);
        if self.tenant_tables.contains(&table) && !named {
            self.found.push(format!("the insert into `{table}` does not list `{key}`"));
        }
    }
}

impl Visitor for Checker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            if carries_tenant(&cte.query, &self.carriers) {
                self.carriers.insert(fold(&cte.alias.name));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.enter(&Scope::of_select(select));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.frames.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Update(update) => self.enter(&Scope::of_update(update)),
            Statement::Delete(delete) => self.enter(&Scope::of_delete(delete)),
            other => {
                if let Statement::Insert(insert) = other {
                    self.check_insert(insert);
                }
                self.enter(&Scope::default());
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        self.frames.pop();
        ControlFlow::Continue(())
    }
}

/// Whether a query's rows belong to a tenant that was named in it.
fn carries_tenant(query: &Query, carriers: &BTreeSet<String>) -> bool {
    query.visit(&mut Carrier { carriers }).is_break()
}

struct Carrier<'a> {
    carriers: &'a BTreeSet<String>,
}

impl Visitor for Carrier<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr else {
            return ControlFlow::Continue(());
        };
        let names_tenant = |expr: &Expr| match side(expr) {
            Some(Side::Column(column)) => column.name == "tenant_id",
            _ => false,
        };
        stop_if(
            (names_tenant(left) && side(right).is_some())
                || (names_tenant(right) && side(left).is_some()),
        )
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        stop_if(select.projection.iter().any(|item| {
            matches!(item, SelectItem::ExprWithAlias { expr, alias }
                if fold(alias) == "tenant_id" && matches!(side(expr), Some(Side::Parameter)))
        }))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        stop_if(matches!(factor, TableFactor::Table { name, .. }
            if self.carriers.contains(&Name::new(name).full())))
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        stop_if(matches!(statement, Statement::Insert(insert)
            if insert.columns.iter().any(|column| Name::new(column).name == "tenant_id")))
    }
}

fn stop_if(found: bool) -> ControlFlow<()> {
    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
