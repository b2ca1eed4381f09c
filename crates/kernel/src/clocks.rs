//! Sandbox tenants' own clocks: business time that a tenant freezes and moves forward, so that
//! trials, retries and renewals can be watched in minutes. Live tenants have none.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::app::App;
use crate::changes::Change;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::tx::{SystemTx, Tx};

/// The topic under which nodes tell each other that a clock was set.
const TOPIC: &str = "tenant_clock";
const RELOAD_AFTER: Duration = Duration::from_secs(1);

/// A clock as it was set.
#[derive(Clone, Copy, Debug)]
pub struct TenantClock {
    /// What it showed when it was set.
    pub stands_at: Timestamp,
    /// When, in real time, that was.
    pub set_at: Timestamp,
    /// Whether it stands still until it is moved.
    pub frozen: bool,
}

impl TenantClock {
    /// What the clock shows at a moment of real time.
    #[must_use]
    pub fn at(&self, real: Timestamp) -> Timestamp {
        if self.frozen { self.stands_at } else { self.stands_at + real.since(self.set_at) }
    }
}

/// Every sandbox clock, on every node.
#[derive(Default)]
pub(crate) struct Clocks {
    known: RwLock<HashMap<TenantId, TenantClock>>,
    /// Held from reading to keeping, so that what was read last is what is kept.
    loading: tokio::sync::Mutex<()>,
}

impl Clocks {
    pub(crate) fn any(&self) -> bool {
        !self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn get(&self, tenant: TenantId) -> Option<TenantClock> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied()
    }

    fn replace(&self, all: HashMap<TenantId, TenantClock>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// Reads every clock; there are as many as there are sandboxes in use.
pub(crate) async fn load(app: &Arc<App>) -> Result<()> {
    let _alone = app.clocks().loading.lock().await;
    let mut tx = SystemTx::begin(app.origin()).await?;
    let rows = sqlx::query!(
        "-- tidy: across tenants because every node knows every sandbox's clock
         select tenant_id, stands_at, set_at, frozen from core.tenant_clocks"
    )
    .fetch_all(tx.db())
    .await?;
    let all = rows.into_iter().map(|row| {
        let set = TenantClock { stands_at: row.stands_at, set_at: row.set_at, frozen: row.frozen };
        (TenantId::from_uuid(row.tenant_id), set)
    });
    app.clocks().replace(all.collect());
    Ok(())
}

/// Reads them after one was set, however often it takes, and releases what is due by now.
pub(crate) async fn reload(app: Arc<App>) {
    while let Err(error) = load(&app).await {
        if app.is_stopping() {
            return;
        }
        tracing::warn!(%error, "sandbox clocks could not be read yet");
        tokio::time::sleep(RELOAD_AFTER).await;
    }
    app.wakers().look();
}

/// The same, once; the change feed comes back to it.
pub(crate) async fn refresh(app: &Arc<App>) {
    if let Err(error) = load(app).await {
        tracing::warn!(%error, "a sandbox clock that was set is not known here yet");
    }
}

/// Whether a change says that a clock was set.
pub(crate) fn concerns(change: &Change) -> bool {
    change.topic == TOPIC
}

/// Releases jobs whose time has come by their tenant's clock, in the order of that time and behind
/// what others are waiting for.
pub(crate) async fn release_due(tx: &mut SystemTx) -> Result<()> {
    let real = tx.real_now();
    sqlx::query!(
        "-- tidy: across tenants because one statement serves every sandbox
         with due as (
           select j.ctid as at, j.id, j.virtual_at from core.jobs j
           join core.tenant_clocks c on c.tenant_id = j.tenant_id
           where j.state = 'delayed' and j.run_at = 'infinity' and j.virtual_at
             <= c.stands_at + case when c.frozen then interval '0' else $1 - c.set_at end
           for update of j skip locked
         ), placed as (
           select at, row_number() over (order by virtual_at desc, id desc) as place from due
         )
         update core.jobs j
         set state = 'waiting', run_at = statement_timestamp() - place * interval '1 microsecond'
         from placed where j.ctid = placed.at",
        real as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

impl App {
    /// A tenant's clock as this node knows it, at most a second behind other nodes.
    #[must_use]
    pub fn clock_of(&self, tenant: TenantId) -> Option<TenantClock> {
        self.clocks().get(tenant)
    }
}

impl Tx {
    /// The clock of this tenant, if it has one.
    #[must_use]
    pub fn clock(&self) -> Option<TenantClock> {
        self.app().clocks().get(self.tenant())
    }

    /// Business time `after` from now, for a tenant with a clock; `None` for live tenants, and for
    /// what need not wait.
    pub(crate) fn virtual_time(&self, after: Duration) -> Option<Timestamp> {
        self.clock().filter(|_| !after.is_zero()).map(|clock| clock.at(self.real_now()) + after)
    }

    /// Sets this tenant's clock. Only forward, and only in a sandbox.
    ///
    /// # Errors
    /// 409 `core.not_a_sandbox`; 422 when the clock would go back.
    pub async fn set_clock(&mut self, to: Timestamp, frozen: bool) -> Result<TenantClock> {
        let (tenant, now) = (self.tenant(), self.real_now());
        let kind = sqlx::query_scalar!(
            "select kind from core.tenants where tenant_id = $1 for key share",
            *tenant
        )
        .fetch_one(self.db())
        .await?;
        if kind != "sandbox" {
            return Err(Error::conflict(
                "core.not_a_sandbox",
                "Only a sandbox has a clock of its own; a live tenant's time is real.",
            ));
        }
        let set = sqlx::query!(
            "insert into core.tenant_clocks as c (tenant_id, stands_at, set_at, frozen)
             select $1, $2::timestamptz, $3::timestamptz, $4
             where $2 >= $3 or exists (select from core.tenant_clocks where tenant_id = $1)
             on conflict (tenant_id) do update
             set stands_at = excluded.stands_at, set_at = excluded.set_at, frozen = excluded.frozen
             where excluded.stands_at >= c.stands_at
               + case when c.frozen then interval '0' else excluded.set_at - c.set_at end",
            *tenant,
            to as _,
            now as _,
            frozen,
        )
        .execute(self.db())
        .await?;
        if set.rows_affected() == 0 {
            return Err(Error::invalid("/to", "core.past", "a clock only goes forward"));
        }
        self.announce(Change::of(TOPIC, &tenant));
        Ok(TenantClock { stands_at: to, set_at: now, frozen })
    }
}
