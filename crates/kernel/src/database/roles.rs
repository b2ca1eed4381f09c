//! The database roles: made by `freehold migrate`, verified at every start.
//!
//! | role | may log in | for |
//! | --- | --- | --- |
//! | `freehold_owner` | no | owns every object |
//! | `freehold_app` | yes | requests and jobs, in one tenant at a time |
//! | `freehold_system` | yes | nothing by itself; takes one of the next three per transaction |
//! | `freehold_account` | no | before a tenant is known: sign-up, sign-in |
//! | `freehold_dispatch` | no | the kernel's own work |
//! | `freehold_platform` | no | operators |

use sqlx::{PgPool, Row};

use super::catalogue::Finding;

/// Run by whoever may make roles, before the first migration. Repeating it changes nothing.
pub(super) const MAKE_ROLES: &str = include_str!("roles.sql");

/// Says what makes a login unfit: row-level security does not hold superusers, roles with
/// BYPASSRLS, or the owner of a table, and who serves requests must not be able to act as those who
/// see all tenants. Asks in one simple query, which a pooler keeps together.
pub(super) async fn inspect(app: &PgPool, system: &PgPool) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    let logins = [("DATABASE_URL", app, true), ("DATABASE_SYSTEM_URL", system, false)];
    for (variable, pool, serves) in logins {
        let found = sqlx::raw_sql(
            "select rolname::text, rolsuper, rolbypassrls,
               exists (
                 select from pg_roles o
                 where o.rolname = 'freehold_owner' and pg_has_role(current_user, o.oid, 'member')
               ),
               exists (
                 select from pg_roles w
                 where w.rolname in ('freehold_account', 'freehold_dispatch', 'freehold_platform')
                   and pg_has_role(current_user, w.oid, 'member')
               )
             from pg_roles where rolname = current_user",
        )
        .fetch_one(pool)
        .await?;
        let name: String = found.try_get(0)?;
        let faults = [
            (found.try_get(1)?, "is a superuser"),
            (found.try_get(2)?, "has BYPASSRLS"),
            (found.try_get(3)?, "is a member of freehold_owner"),
            (serves && found.try_get(4)?, "may act as a role that sees all tenants"),
        ];
        for (_, fault) in faults.into_iter().filter(|(found, _)| *found) {
            findings.push(Finding(format!(
                "{variable} logs in as {name}, which {fault}: row-level security would not hold \
                 it. Log in as freehold_app (DATABASE_URL) and freehold_system \
                 (DATABASE_SYSTEM_URL); `freehold migrate` makes both."
            )));
        }
    }
    Ok(findings)
}
