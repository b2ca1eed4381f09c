//! Who writes to the directory in `core`.

use crate::{right, wrong};

fn file(sql: &str) -> String {
    format!("//! Some.\nfn f() {{ sqlx::query!(\"{sql}\"); }}\n")
}

#[test]
fn only_identity_and_the_kernel_write_people() {
    for sql in [
        "insert into core.users (id) values ($1)",
        "update core.memberships set name = $2 where tenant_id = $1",
        "delete from core.role_assignments where tenant_id = $1",
        "with x as (update core.users set name = $1 where id = $2 returning id) select id from x",
    ] {
        let text = file(sql);
        wrong(&[("modules/quota/src/a.rs", &text)], "modules/quota/src/a.rs:2: `core.");
        wrong(&[("crates/freehold/src/a.rs", &text)], "crates/freehold/src/a.rs:2: `core.");
        right(&[
            ("modules/identity/src/a.rs", &text),
            ("crates/kernel/src/directory.rs", &text),
            ("modules/quota/tests/it/main.rs", &text),
        ]);
    }
}

#[test]
fn everybody_may_read_people() {
    let text = file("select id from core.users where id = $1 for update");
    right(&[("modules/quota/src/a.rs", &text)]);
}

#[test]
fn only_the_tenants_module_and_the_kernel_update_tenants() {
    let text = file("update core.tenants set name = $2 where id = $1");
    wrong(
        &[("modules/identity/src/a.rs", &text)],
        "modules/identity/src/a.rs:2: `core.tenants` is written (update)",
    );
    right(&[("modules/tenants/src/a.rs", &text), ("crates/kernel/src/a.rs", &text)]);
}

#[test]
fn only_the_kernel_makes_and_removes_tenants() {
    for sql in
        ["insert into core.tenants (id) values ($1)", "delete from core.tenants where id = $1"]
    {
        let text = file(sql);
        wrong(&[("modules/tenants/src/a.rs", &text)], "modules/tenants/src/a.rs:2: `core.tenants`");
        right(&[("crates/kernel/src/a.rs", &text)]);
    }
}

#[test]
fn a_migration_writes_people_no_more_than_a_query_does() {
    let sql = "update core.users set name = 'x' where id = '1';\n";
    wrong(
        &[("modules/quota/migrations/0001_quota.sql", sql)],
        "modules/quota/migrations/0001_quota.sql:1: `core.users` is written",
    );
    right(&[("modules/identity/migrations/0001_identity.sql", sql)]);
}
