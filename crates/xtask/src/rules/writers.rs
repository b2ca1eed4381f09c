//! The directory in `core` belongs to the kernel; this is the table of who else writes to it.

use crate::finding::Finding;
use crate::statement::{self, Verb};
use crate::tree::{Home, Tree};

/// Tables of the directory, what is done to them, and the one module that may do it.
const WRITERS: [(&str, &[Verb], Option<&str>); 5] = [
    ("core.users", &[Verb::Insert, Verb::Update, Verb::Delete], Some("identity")),
    ("core.memberships", &[Verb::Insert, Verb::Update, Verb::Delete], Some("identity")),
    ("core.role_assignments", &[Verb::Insert, Verb::Update, Verb::Delete], Some("identity")),
    ("core.tenants", &[Verb::Update], Some("tenants")),
    ("core.tenants", &[Verb::Insert, Verb::Delete], None),
];

/// Reports writes to the directory by anybody else.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for query in &tree.queries {
        if let Some(sql) = &query.sql {
            check_sql(&query.path, query.line, sql, findings);
        }
    }
    for migration in &tree.migrations {
        for piece in &migration.pieces {
            check_sql(&migration.path, piece.line, &piece.text, findings);
        }
    }
}

fn check_sql(path: &str, line: usize, sql: &str, findings: &mut Vec<Finding>) {
    let home = Home::of(path);
    let is_tool = path.starts_with("crates/testkit/") || path.starts_with("bench/");
    if home == Home::Kernel || is_tool {
        return;
    }
    for statement in statement::parse(sql).unwrap_or_default() {
        for (verb, table) in statement::names(&statement).writes {
            let table = table.full();
            let rule =
                WRITERS.iter().find(|(name, verbs, _)| *name == table && verbs.contains(&verb));
            let Some((_, _, writer)) = rule else {
                continue;
            };
            if writer.is_some_and(|writer| home == Home::Module(writer.to_owned())) {
                continue;
            }
            let may = writer.map_or_else(String::new, |writer| format!("modules/{writer} and "));
            findings.push(Finding::new(
                path,
                line,
                format!("`{table}` is written ({verb:?}) outside {may}the kernel").to_lowercase(),
                "call the kernel's directory, or publish an event its owner acts on",
            ));
        }
    }
}
