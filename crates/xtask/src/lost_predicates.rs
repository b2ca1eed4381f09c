//! Statements that have lost their tenant: edited copies of a checked query, each of which the rule
//! about tenant predicates must find.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Select, Statement, Value, VisitMut,
    VisitorMut,
};

use crate::scope::{Side, TENANT_COLUMN, side};
use crate::statement::{self, Name};
use crate::tenant_predicate;

/// One edited copy.
pub struct Lost {
    /// What was done to it.
    pub edit: &'static str,
    /// The copy.
    pub sql: String,
}

/// The edits, in the order in which they are tried on each equality of a tenant.
const EDITS: [(&str, Edit); 4] = [
    ("the predicate is dropped", drop_it),
    ("the predicate is optional", or_true),
    ("the predicate compares with another parameter", other_parameter),
    ("the predicate compares the tenant with itself", itself),
];

type Edit = fn(&Expr) -> Option<Expr>;

/// Every copy of a statement in which one predicate on the tenant of a tenant table is lost.
pub fn copies(sql: &str) -> Vec<Lost> {
    let mut copies = Vec::new();
    for (edit, change) in EDITS {
        for place in 0.. {
            let Ok(mut statements) = statement::parse(sql) else { return copies };
            let mut editor = Editor { place, change, seen: 0, edited: false };
            let _ = VisitMut::visit(&mut statements, &mut editor);
            if editor.edited {
                copies.push(Lost { edit, sql: text(&statements) });
            } else if editor.seen <= place {
                break;
            }
        }
    }
    copies.extend(copies_without_using(sql));
    copies
}

/// Whether a statement names a tenant table.
pub fn names_any(sql: &str, tenant_tables: &BTreeSet<String>) -> bool {
    let statements = statement::parse(sql).unwrap_or_default();
    let tables = statements.iter().flat_map(|one| statement::names(one).tables);
    tables.into_iter().any(|table| tenant_tables.contains(&table.full()))
}

/// Whether the rule finds the copy.
pub fn is_found(sql: &str, tenant_tables: &BTreeSet<String>) -> bool {
    let statements = statement::parse(sql).unwrap_or_default();
    statements.iter().any(|one| !tenant_predicate::missing(one, tenant_tables).is_empty())
}

/// Takes the tenant out of `using (tenant_id, …)`.
fn copies_without_using(sql: &str) -> Option<Lost> {
    let mut statements = statement::parse(sql).ok()?;
    let mut editor = WithoutUsing { edited: false };
    let _ = VisitMut::visit(&mut statements, &mut editor);
    let lost = Lost { edit: "a join leaves the tenant out", sql: text(&statements) };
    editor.edited.then_some(lost)
}

fn text(statements: &[Statement]) -> String {
    statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";\n")
}

/// Edits the equality of a tenant that stands at one place.
struct Editor {
    place: usize,
    change: Edit,
    seen: usize,
    edited: bool,
}

impl VisitorMut for Editor {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if !is_of_a_tenant(expr) {
            return ControlFlow::Continue(());
        }
        self.seen += 1;
        if self.seen != self.place + 1 {
            return ControlFlow::Continue(());
        }
        if let Some(changed) = (self.change)(expr) {
            *expr = changed;
            self.edited = true;
        }
        ControlFlow::Break(())
    }
}

struct WithoutUsing {
    edited: bool,
}

impl VisitorMut for WithoutUsing {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
            let (JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::Left(on)) =
                &mut join.join_operator
            else {
                continue;
            };
            let JoinConstraint::Using(columns) = on else { continue };
            let before = columns.len();
            columns.retain(|column| Name::new(column).name != TENANT_COLUMN);
            self.edited |= columns.len() < before && !columns.is_empty();
        }
        ControlFlow::Continue(())
    }
}

/// `tenant_id = …`, either way round.
fn is_of_a_tenant(expr: &Expr) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr else { return false };
    let names =
        |expr: &Expr| matches!(side(expr), Some(Side::Column(c)) if c.name == TENANT_COLUMN);
    (names(left) && side(right).is_some()) || (names(right) && side(left).is_some())
}

fn always() -> Expr {
    Expr::Value(Value::Boolean(true).into())
}

fn drop_it(_: &Expr) -> Option<Expr> {
    Some(always())
}

fn or_true(expr: &Expr) -> Option<Expr> {
    let either = Expr::BinaryOp {
        left: Box::new(expr.clone()),
        op: BinaryOperator::Or,
        right: Box::new(always()),
    };
    Some(Expr::Nested(Box::new(either)))
}

/// The second parameter instead of the first, which is the tenant.
fn other_parameter(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else { return None };
    let other = Box::new(Expr::Value(Value::Placeholder("$2".to_owned()).into()));
    let (left, right) = match (side(left), side(right)) {
        (Some(Side::Parameter), _) => (other, right.clone()),
        (_, Some(Side::Parameter)) => (left.clone(), other),
        _ => return None,
    };
    Some(Expr::BinaryOp { left, op: op.clone(), right })
}

fn itself(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else { return None };
    let column = if is_column(left) { left } else { right };
    Some(Expr::BinaryOp { left: column.clone(), op: op.clone(), right: column.clone() })
}

fn is_column(expr: &Expr) -> bool {
    matches!(side(expr), Some(Side::Column(_)))
}
