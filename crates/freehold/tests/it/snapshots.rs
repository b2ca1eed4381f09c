//! What the installation shows to the world, as files that reviewers read in a diff. `make
//! snapshots` writes them; a test that differs says so.

use std::fmt::Write;
use std::path::PathBuf;

use freehold_kernel::SystemRole;
use freehold_testkit::{TestApp, isolation};

use crate::life::app;

#[tokio::test]
async fn snapshots_are_what_the_application_is() {
    let app = app().await;
    let document = app.kernel().openapi_document();
    let openapi = serde_json::to_string_pretty(document).unwrap() + "\n";
    let openapi = openapi.replace(&app.kernel().config().public_url, "http://localhost:3000");
    let files = [
        ("openapi.json", openapi),
        ("permissions.md", permissions(&app)),
        ("events.md", events(&app)),
        ("schema.md", schema(&app).await),
    ];
    let stale: Vec<&str> =
        files.iter().filter(|(name, text)| !agrees(name, text)).map(|(name, _)| *name).collect();
    assert!(
        stale.is_empty(),
        "snapshots/ differ: {stale:?}. Type `make snapshots`, read the diff."
    );
}

/// Compares with the file, or writes it when asked to.
pub(crate) fn agrees(name: &str, text: &str) -> bool {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../snapshots").join(name);
    if std::env::var("FREEHOLD_SNAPSHOTS").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, text).unwrap();
    }
    std::fs::read_to_string(&path).is_ok_and(|kept| kept == text)
}

/// Permission × system role.
fn permissions(app: &TestApp) -> String {
    let names = SystemRole::ALL.map(SystemRole::name).join(" | ");
    let rule = " --- |".repeat(SystemRole::ALL.len());
    let mut text =
        format!("# Permissions\n\n| permission | allows to | {names} |\n| --- | --- |{rule}\n");
    for permission in app.kernel().permissions() {
        let holds = |role: &SystemRole| if permission.roles.contains(role) { "yes" } else { "" };
        let roles = SystemRole::ALL.iter().map(holds).collect::<Vec<_>>().join(" | ");
        writeln!(text, "| `{}` | {} | {roles} |", permission.name, permission.description).unwrap();
    }
    text
}

/// Every kind of event and its fields.
fn events(app: &TestApp) -> String {
    let mut text =
        String::from("# Events\n\n| event | module | says | fields |\n| --- | --- | --- | --- |\n");
    for event in app.kernel().events() {
        let fields =
            event.schema["properties"].as_object().into_iter().flatten().map(|(name, _)| {
                let sealed = event.personal.contains(&name.as_str());
                if sealed { format!("`{name}` (personal)") } else { format!("`{name}`") }
            });
        let fields = fields.collect::<Vec<_>>().join(", ");
        let says = event.description.replace('\n', " ");
        writeln!(text, "| `{}` | {} | {says} | {fields} |", event.name, event.module).unwrap();
    }
    text
}

/// Every table: who may do what with it, and its columns.
async fn schema(app: &TestApp) -> String {
    let mut text = format!("# Schema\n\n## Who may do what\n\n{}", isolation::grants(app).await);
    text.push_str("\n## Columns\n\n| column | type | null |\n| --- | --- | --- |\n");
    let columns: Vec<(String, String, bool)> = sqlx::query_as(
        "select c.oid::regclass::text || '.' || a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relkind in ('r', 'p') and not c.relispartition and c.relname <> '_migrations'
           and pg_get_userbyid(n.nspowner) = 'freehold_owner'
         order by c.oid::regclass::text collate \"C\", a.attnum",
    )
    .fetch_all(app.sql())
    .await
    .unwrap();
    for (column, kind, nullable) in columns {
        writeln!(text, "| `{column}` | {kind} | {} |", if nullable { "yes" } else { "" }).unwrap();
    }
    text
}
