//! What the proof reads and writes, by whatever way a transaction was opened.

use freehold_kernel::{Event, Id, Named, Result, Tx};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How many rows a look sees at the most.
const LOOK: i64 = 20;

/// A row of the proof.
pub(super) enum Row {}

impl Named for Row {
    const PREFIX: &'static str = "prf";
}

/// The id of a row.
pub(super) type RowId = Id<Row>;

/// What a transaction sees.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = proof::Seen)]
pub(super) struct Seen {
    /// The tenant that the transaction is in, as PostgreSQL has it.
    pub(super) setting: Option<String>,
    /// The tenants that it sees.
    pub(super) tenants: Vec<Uuid>,
    /// Whom each row that it sees belongs to.
    pub(super) owners: Vec<Uuid>,
    /// Whom each row that it sees was meant for.
    pub(super) meant: Vec<Uuid>,
    /// Of whom the events are that it sees.
    pub(super) events: Vec<Uuid>,
    /// How many of the rows looked for by their id are there.
    pub(super) found: i64,
}

/// A row was written.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "proof_row.written", subject = id)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowWritten {
    /// The row.
    id: RowId,
}

/// Everything that can be seen, in one statement and of whatever tenant: only the setting decides.
const SEE: &str = "
select current_setting('app.tenant_id', true),
  array(select tenant_id from core.tenants),
  array(select tenant_id from (select tenant_id, id from proof.rows order by tenant_id, id desc limit $1) r),
  array(select meant from (select tenant_id, id, meant from proof.rows order by tenant_id, id desc limit $1) r),
  array(select tenant_id from (select tenant_id, at from core.events order by tenant_id, at desc limit $1) e),
  (select count(*) from proof.rows where id = $2)";

/// Looks around.
pub(super) async fn see(tx: &mut Tx, wanted: Option<Uuid>) -> Result<Seen> {
    let (setting, tenants, owners, meant, events, found) =
        sqlx::query_as(SEE).bind(LOOK).bind(wanted).fetch_one(tx.db()).await?;
    Ok(Seen { setting, tenants, owners, meant, events, found })
}

/// Looks, and stops reading at the first of many rows.
pub(super) async fn see_half(tx: &mut Tx) -> Result<Option<Uuid>> {
    let mut rows = sqlx::query_scalar(
        "select r.tenant_id from proof.rows r, generate_series(1, 200) order by r.tenant_id, r.id desc limit 2000",
    )
    .fetch(tx.db());
    Ok(rows.try_next().await?)
}

/// Writes a row into the tenant that the transaction is in, whoever that is, and tells it.
pub(super) async fn write(tx: &mut Tx, doomed: bool) -> Result<Uuid> {
    let (id, meant) = (RowId::new(), tx.tenant());
    sqlx::query(
        "insert into proof.rows (tenant_id, id, name, meant, doomed)
         values (nullif(current_setting('app.tenant_id', true), '')::uuid, $1, $2, $3, $4)",
    )
    .bind(*id)
    .bind(id.to_string())
    .bind(*meant)
    .bind(doomed)
    .execute(tx.db())
    .await?;
    tx.emit(RowWritten { id }).await?;
    Ok(*id)
}

/// A statement that fails.
pub(super) async fn fail(tx: &mut Tx) -> Result<()> {
    sqlx::query("select 1 / (count(*) - count(*)) from core.tenants").execute(tx.db()).await?;
    Ok(())
}

/// A statement that takes longer than the transaction allows.
pub(super) async fn exceed(tx: &mut Tx) -> Result<()> {
    sqlx::query("set local statement_timeout = '2ms'").execute(tx.db()).await?;
    sqlx::query("select pg_sleep(5)").execute(tx.db()).await?;
    Ok(())
}

/// What no module may say: a tenant for the whole session, instead of for the transaction.
pub(super) async fn leave_behind(tx: &mut Tx, tenant: Uuid) -> Result<()> {
    sqlx::query("select set_config('app.tenant_id', $1, false)")
        .bind(tenant.to_string())
        .execute(tx.db())
        .await?;
    Ok(())
}
