//! What is there in the end, read past all security.

use uuid::Uuid;

use super::Party;
use crate::{Result, Subject};

/// How many ids are asked for at once.
const ASKED_AT_ONCE: usize = 10_000;

/// Each question counts what must not be, and the sentence says what that is.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "rows belong to another tenant than they were written for",
        "select count(*) from proof.rows where tenant_id <> meant",
    ),
    (
        "rows were kept although their transaction came to nothing",
        "select count(*) from proof.rows where doomed",
    ),
    (
        "rows or events of them are without each other in their tenant",
        "select count(*) from proof.rows r
         full join (select * from core.events where type = 'proof_row.written') e
           on e.tenant_id = r.tenant_id and e.subject = r.name and e.data ->> 'id' = r.name
         where r.id is null or e.id is null",
    ),
    (
        "rows are told more than once",
        "select count(*) - count(distinct subject) from core.events where type = 'proof_row.written'",
    ),
];

/// Adds what is wrong; answers how many rows there are.
pub(super) async fn look(
    subject: &Subject,
    parties: &[Party],
    acknowledged: &[Uuid],
    findings: &mut Vec<String>,
) -> Result<u64> {
    for (sentence, question) in QUESTIONS {
        let wrong: i64 = sqlx::query_scalar(*question).fetch_one(&subject.superuser).await?;
        if wrong > 0 {
            findings.push(format!("{wrong} {sentence}"));
        }
    }
    for asked in acknowledged.chunks(ASKED_AT_ONCE) {
        let lost: i64 = sqlx::query_scalar(
            "select count(*) from unnest($1::uuid[]) a (id)
             where not exists (select from proof.rows r where r.id = a.id)",
        )
        .bind(asked)
        .fetch_one(&subject.superuser)
        .await?;
        if lost > 0 {
            findings.push(format!("{lost} rows are lost although their commit was acknowledged"));
        }
    }
    let tenants: Vec<Uuid> = parties.iter().map(|party| *party.tenant).collect();
    let strangers: i64 =
        sqlx::query_scalar("select count(*) from proof.rows where tenant_id <> all ($1)")
            .bind(&tenants)
            .fetch_one(&subject.superuser)
            .await?;
    if strangers > 0 {
        findings.push(format!("{strangers} rows belong to tenants that nobody worked for"));
    }
    let kept: i64 =
        sqlx::query_scalar("select count(*) from proof.rows").fetch_one(&subject.superuser).await?;
    Ok(u64::try_from(kept).unwrap_or_default())
}
