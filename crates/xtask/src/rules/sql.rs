//! The SQL of the kernel and of modules: whose tables it names, which tenant, which words.

use sqlparser::ast::Statement;

use crate::finding::Finding;
use crate::queries::Query;
use crate::sql_text::{self, Bodies};
use crate::statement::{self, Name};
use crate::tenant_predicate;
use crate::tree::{Home, Tree};

/// The mark of a statement the parser does not understand.
pub const UNPARSED: &str = "unparsed";

/// The mark of a statement that rightly has no tenant predicate.
pub const ACROSS_TENANTS: &str = "across tenants";

/// Ways to ask the database for the time, as functions; business time is `tx.now()`.
const TIME_CALLS: [&str; 5] =
    ["now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday"];

/// Ways to ask the database for the time that need no parentheses.
const TIME_WORDS: [&str; 5] =
    ["current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"];

/// Functions that read or change what only the kernel sets.
const SETTING_CALLS: [&str; 2] = ["set_config", "current_setting"];

/// Schemas everybody may name next to their own.
const SHARED_SCHEMAS: [&str; 3] = ["core", "pg_catalog", "information_schema"];

/// Reports what is wrong with queries.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for query in &tree.queries {
        let home = Home::of(&query.path);
        if let Some(schema) = home.schema() {
            Checker { tree, query, home: &home, schema, findings }.check();
        }
    }
    let known = tree.source_sql();
    for offline in &tree.offline {
        let sql = offline.query.as_str();
        if known.contains(sql) || sql_text::marked(sql, UNPARSED) {
            continue;
        }
        if let Err(error) = statement::parse(sql) {
            findings.push(unparsed(&offline.path, 1, &error.to_string()));
        }
    }
}

/// A way to ask the database for the time, if the masked text has one, with its offset.
pub fn time_word(masked: &str) -> Option<(usize, &str)> {
    sql_text::words(masked).find(|(offset, word)| {
        let word = word.to_lowercase();
        TIME_WORDS.contains(&word.as_str())
            || (TIME_CALLS.contains(&word.as_str()) && sql_text::is_call(masked, *offset, &word))
    })
}

/// Whether SQL of this schema may name that one.
pub fn may_name(own: &str, other: &str) -> bool {
    other == own || SHARED_SCHEMAS.contains(&other)
}

fn unparsed(path: &str, line: usize, error: &str) -> Finding {
    Finding::new(
        path,
        line,
        format!("the SQL cannot be parsed: {error}"),
        "write it more plainly, or add the line `-- tidy: unparsed because …` to the SQL",
    )
}

struct Checker<'a> {
    tree: &'a Tree,
    query: &'a Query,
    home: &'a Home,
    schema: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Checker<'_> {
    fn report(&mut self, message: String, advice: &str) {
        self.findings.push(Finding::new(&self.query.path, self.query.line, message, advice));
    }

    fn is_module(&self) -> bool {
        matches!(self.home, Home::Module(_))
    }

    fn check(&mut self) {
        let Some(sql) = &self.query.sql else {
            self.report("the file of this query cannot be read".to_owned(), "correct its path");
            return;
        };
        if self.is_module() {
            self.check_words(sql);
        }
        match statement::parse(sql) {
            Ok(statements) if statements.is_empty() => self.report(
                "the SQL is nothing but a comment".to_owned(),
                "end the comment's line with a line break that reaches PostgreSQL",
            ),
            Ok(statements) => {
                for statement in &statements {
                    self.check_names(statement);
                    self.check_tenants(sql, statement);
                }
            }
            Err(_) if sql_text::marked(sql, UNPARSED) => {}
            Err(error) => {
                let finding = unparsed(&self.query.path, self.query.line, &error.to_string());
                self.findings.push(finding);
            }
        }
    }

    /// Works on text, so that it also holds for what cannot be parsed.
    fn check_words(&mut self, sql: &str) {
        let masked = sql_text::mask(sql, Bodies::AreCode);
        if let Some((_, word)) = time_word(&masked) {
            self.report(
                format!("module SQL says `{word}`"),
                "pass `tx.now()` as a parameter, so that test clocks work",
            );
        }
        for (offset, word) in sql_text::words(&masked) {
            if SETTING_CALLS.contains(&word) && sql_text::is_call(&masked, offset, word) {
                self.report(
                    format!("module SQL says `{word}`"),
                    "settings are the kernel's; pass what is needed as a parameter",
                );
            }
        }
        let first = sql_text::words(&masked).next().map_or("", |(_, word)| word).to_lowercase();
        if !matches!(first.as_str(), "select" | "insert" | "update" | "delete" | "with" | "values")
        {
            self.report(
                format!("module SQL begins with `{first}`"),
                "modules say select, insert, update and delete; the rest is the kernel's",
            );
        }
    }

    fn check_names(&mut self, statement: &Statement) {
        let names = statement::names(statement);
        for table in &names.tables {
            if table.schema.is_none() {
                self.report(
                    format!("the table `{}` is named without its schema", table.name),
                    "write `schema.table`",
                );
            }
        }
        for name in names.tables.iter().chain(&names.functions) {
            self.check_schema(name);
        }
    }

    fn check_schema(&mut self, name: &Name) {
        let foreign = name.schema.as_ref().filter(|schema| !may_name(self.schema, schema));
        if foreign.is_some() {
            self.report(
                format!("`{}` belongs to another schema than `{}`", name.full(), self.schema),
                "subscribe to the other module's events or ask through a port",
            );
        }
    }

    fn check_tenants(&mut self, sql: &str, statement: &Statement) {
        if sql_text::marked(sql, ACROSS_TENANTS) {
            if self.is_module() && !self.query.crosses_tenants {
                self.report(
                    "the SQL says `tidy: across tenants`, but no transaction here may cross them"
                        .to_owned(),
                    "add the tenant predicate, or use AccountTx, PlatformTx or SystemTx",
                );
            }
            return;
        }
        let tables = &self.tree.catalogue.tenant_tables;
        for message in tenant_predicate::missing(statement, tables) {
            self.report(
                message,
                "add the tenant predicate, or `-- tidy: across tenants because …` to the SQL",
            );
        }
    }
}
