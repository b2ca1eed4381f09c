//! The tables of one `from`, and the equalities that tie them to a tenant.

use std::collections::BTreeSet;

use sqlparser::ast::{
    BinaryOperator, Delete, Expr, FromTable, Join, JoinConstraint, JoinOperator, Select,
    TableAlias, TableFactor, TableWithJoins, Update, UpdateTableFromKind, Value,
};

use crate::statement::{Name, fold};

/// The column that names the tenant, in every tenant table, the directory's own included.
pub const TENANT_COLUMN: &str = "tenant_id";

/// The parameter that is the tenant, in every statement on a tenant table: compared with any other,
/// a tenant's rows might be those that a caller names.
pub const TENANT_PARAMETER: &str = "$1";

/// What stands behind an alias.
pub enum Kind<'a> {
    /// A table by its full name.
    Table(String),
    /// A subquery in `from`.
    Subquery(&'a sqlparser::ast::Query),
    /// A name without schema: usually a `with` query.
    Bare(String),
    /// A function or anything else.
    Other,
}

/// One entry of a `from`.
pub struct Source<'a> {
    /// The name by which the rest of the statement speaks of it.
    pub alias: String,
    /// What it is.
    pub kind: Kind<'a>,
}

/// A column as written.
pub struct Column {
    /// The alias in front of the dot.
    pub qualifier: Option<String>,
    /// The column's own name.
    pub name: String,
}

/// One side of an equality.
pub enum Side {
    /// `$1`
    Parameter,
    /// A column.
    Column(Column),
}

/// Which sources an equality may tie to the tenant.
#[derive(Clone)]
pub enum Reach {
    /// Any: it stands in `where` or in the condition of an inner join.
    All,
    /// Only this one: the condition of a left join filters nothing on the left.
    Only(String),
    /// None: the condition of a right or full join.
    Nobody,
}

/// An equality that must hold for every row.
pub struct Equality {
    /// The left side.
    pub left: Side,
    /// The right side.
    pub right: Side,
    /// Whom it binds.
    pub reach: Reach,
}

/// The sources and the equalities of one select, update or delete.
#[derive(Default)]
pub struct Scope<'a> {
    /// In the order written.
    pub sources: Vec<Source<'a>>,
    /// All that must hold.
    pub equalities: Vec<Equality>,
}

impl<'a> Scope<'a> {
    /// The scope of a select.
    pub fn of_select(select: &'a Select) -> Self {
        let mut scope = Self::default();
        scope.add_tables(&select.from);
        scope.add_condition(select.selection.as_ref());
        scope
    }

    /// The scope of an update.
    pub fn of_update(update: &'a Update) -> Self {
        let mut scope = Self::default();
        scope.add_tables(std::slice::from_ref(&update.table));
        if let Some(
            UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables),
        ) = &update.from
        {
            scope.add_tables(tables);
        }
        scope.add_condition(update.selection.as_ref());
        scope
    }

    /// The scope of a delete.
    pub fn of_delete(delete: &'a Delete) -> Self {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let mut scope = Self::default();
        scope.add_tables(tables);
        if let Some(using) = &delete.using {
            scope.add_tables(using);
        }
        scope.add_condition(delete.selection.as_ref());
        scope
    }

    fn add_condition(&mut self, condition: Option<&Expr>) {
        if let Some(condition) = condition {
            equalities(condition, &Reach::All, &mut self.equalities);
        }
    }

    fn add_tables(&mut self, tables: &'a [TableWithJoins]) {
        for table in tables {
            self.add_table_with_joins(table);
        }
    }

    fn add_table_with_joins(&mut self, table: &'a TableWithJoins) {
        let first = self.sources.len();
        self.add_factor(&table.relation);
        for join in &table.joins {
            self.add_join(join, first);
        }
    }

    fn add_factor(&mut self, factor: &'a TableFactor) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let name = Name::new(name);
                let kind = match (args, &name.schema) {
                    (Some(_), _) => Kind::Other,
                    (None, Some(_)) => Kind::Table(name.full()),
                    (None, None) => Kind::Bare(name.name.clone()),
                };
                let alias = alias_or(alias.as_ref(), &name.name);
                self.sources.push(Source { alias, kind });
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let alias = alias_or(alias.as_ref(), "");
                self.sources.push(Source { alias, kind: Kind::Subquery(subquery) });
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.add_table_with_joins(table_with_joins);
            }
            TableFactor::Function { alias, .. } | TableFactor::UNNEST { alias, .. } => {
                let alias = alias_or(alias.as_ref(), "");
                self.sources.push(Source { alias, kind: Kind::Other });
            }
            _ => {}
        }
    }

    fn add_join(&mut self, join: &'a Join, first: usize) {
        let joined = self.sources.len();
        self.add_factor(&join.relation);
        let alias = self.sources.get(joined).map(|source| source.alias.clone()).unwrap_or_default();
        let (constraint, reach) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (on, Reach::All),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (on, Reach::Only(alias)),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (on, Reach::Nobody),
            JoinOperator::FullOuter(on) => (on, Reach::Nobody),
            _ => return,
        };
        match constraint {
            JoinConstraint::On(condition) => equalities(condition, &reach, &mut self.equalities),
            JoinConstraint::Using(columns) => {
                if columns.iter().any(|column| Name::new(column).name == "tenant_id") {
                    self.add_using(first, joined, &reach);
                }
            }
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    /// `using (tenant_id)` says that the joined table's equals the one of those before it.
    fn add_using(&mut self, first: usize, joined: usize, reach: &Reach) {
        let aliases: Vec<String> = self.sources.iter().map(|s| s.alias.clone()).collect();
        let Some(right) = aliases.get(joined) else {
            return;
        };
        for left in &aliases[first..joined] {
            let side = |alias: &String| {
                Side::Column(Column {
                    qualifier: Some(alias.clone()),
                    name: "tenant_id".to_owned(),
                })
            };
            let equality = Equality { left: side(left), right: side(right), reach: reach.clone() };
            self.equalities.push(equality);
        }
    }
}

/// The aliases of one scope that are tied to a tenant.
pub type Bound = BTreeSet<String>;

fn alias_or(alias: Option<&TableAlias>, name: &str) -> String {
    alias.map_or_else(|| name.to_owned(), |alias| fold(&alias.name))
}

/// Collects the equalities that must hold for the whole condition to hold: only `and` is followed.
pub fn equalities(condition: &Expr, reach: &Reach, found: &mut Vec<Equality>) {
    match condition {
        Expr::Nested(inner) => equalities(inner, reach, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equalities(left, reach, found);
            equalities(right, reach, found);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            equal(left, right, reach, found);
        }
        _ => {}
    }
}

fn equal(left: &Expr, right: &Expr, reach: &Reach, found: &mut Vec<Equality>) {
    if let (Expr::Tuple(lefts), Expr::Tuple(rights)) = (left, right) {
        for (left, right) in lefts.iter().zip(rights) {
            equal(left, right, reach, found);
        }
    } else if let (Some(left), Some(right)) = (side(left), side(right)) {
        found.push(Equality { left, right, reach: reach.clone() });
    }
}

/// Reads one side, looking through parentheses and casts.
pub fn side(expr: &Expr) -> Option<Side> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => side(inner),
        Expr::Value(value) => {
            matches!(&value.value, Value::Placeholder(name) if name == TENANT_PARAMETER)
                .then_some(Side::Parameter)
        }
        Expr::Identifier(name) => Some(Side::Column(Column { qualifier: None, name: fold(name) })),
        Expr::CompoundIdentifier(parts) => {
            let [.., qualifier, name] = parts.as_slice() else {
                return None;
            };
            Some(Side::Column(Column { qualifier: Some(fold(qualifier)), name: fold(name) }))
        }
        _ => None,
    }
}
