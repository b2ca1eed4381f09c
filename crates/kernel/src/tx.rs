//! Transactions: the only way to the database.
//!
//! A change, its audit record, its event and what other nodes must know commit together. Events
//! are buffered and go out as one statement before COMMIT, so emitting adds no round trip of its
//! own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::changes::Change;
use crate::clocks;
use crate::cx::Origin;
use crate::database::{Access, Db};
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::event::{self, CustomEvent, Details, Event, EventRow, Recorded};
use crate::queue::{HandOver, Job, NewJob};
use crate::subject_keys::NewKey;
use crate::time::Timestamp;
use crate::trace;

/// A transaction in one tenant, under row-level security, as the application role.
///
/// A handler's `Tx` belongs to the wrapper: dropping it hands it back, and the wrapper commits or
/// rolls back. One from [`Cx::tx`](crate::Cx::tx) must be committed by its owner.
pub struct Tx {
    // Empty only after the work has been handed back or committed.
    work: Option<Box<Work>>,
    tenant: TenantId,
    slot: Slot,
}

/// A transaction on the tables that span tenants, before a tenant is known: sign-up, sign-in.
pub struct AccountTx(Work);

/// A transaction over all tenants, for operators' routes.
pub struct PlatformTx(Work);

/// A transaction of the kernel itself over all tenants: outbox, jobs, schedules.
pub struct SystemTx(Work);

/// Where a handler's transaction waits for the wrapper.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<SlotState>>);

#[derive(Default)]
struct SlotState {
    work: Option<Box<Work>>,
    began: Option<TenantId>,
}

/// How a tenant's transaction opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Cannot write; ends without COMMIT.
    ReadOnly,
    /// Can write.
    ReadWrite,
}

/// What every kind of transaction has.
pub(crate) struct Work {
    db: Db,
    /// Whether it sees more than one tenant.
    wide: bool,
    origin: Arc<Origin>,
    events: Vec<EventRow>,
    new_keys: Vec<NewKey>,
    changes: Vec<Change>,
    jobs: Vec<NewJob>,
    /// Set once this is committed: the job that runs here is settled.
    settles: Option<Arc<AtomicBool>>,
}

impl Tx {
    pub(crate) async fn begin(
        origin: Arc<Origin>,
        tenant: TenantId,
        opening: Opening,
        slot: Slot,
    ) -> Result<Self> {
        let customer = origin.actor.get().and_then(|actor| actor.customer.as_deref());
        let db = origin.app.database().begin(Access::Tenant(tenant, opening, customer)).await?;
        slot.lock().began = Some(tenant);
        Ok(Self { work: Some(Box::new(Work::new(db, origin, false))), tenant, slot })
    }

    pub(crate) fn resume(slot: &Slot) -> Option<Self> {
        let mut state = slot.lock();
        let tenant = state.began?;
        let work = state.work.take()?;
        drop(state);
        Some(Self { work: Some(work), tenant, slot: slot.clone() })
    }

    /// The tenant this transaction sees; every statement says `tenant_id = $1` with it.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The database, for `sqlx` queries.
    pub fn db(&mut self) -> &mut Db {
        &mut self.work_mut().db
    }

    /// Business time: trials, renewals, retries, anything a customer would call a date.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let real = self.real_now();
        self.clock().map_or(real, |clock| clock.at(real))
    }

    /// Real time: tokens, sessions, leases.
    #[must_use]
    pub fn real_now(&self) -> Timestamp {
        self.work().origin.app.config().clock.now()
    }

    /// The running application.
    #[must_use]
    pub fn app(&self) -> &Arc<crate::App> {
        &self.work().origin.app
    }

    /// Who is asking.
    ///
    /// # Errors
    /// 401 outside a signed-in request.
    pub fn actor(&self) -> Result<&Arc<crate::Actor>> {
        self.work().origin.actor.get().ok_or_else(|| {
            Error::unauthenticated("core.unauthenticated", "Send a token or an API key.")
        })
    }

    /// Records that something happened: audit record and event, in this transaction.
    ///
    /// # Errors
    /// When the event cannot be written as JSON or its personal part cannot be sealed.
    pub async fn emit<E: Event>(&mut self, event: E) -> Result<Recorded> {
        let tenant = self.tenant;
        event::buffer(self.work_mut(), tenant, &event, Details::default()).await
    }

    /// Records a change with the fields that differ, before and after; they go into the sealed
    /// part of the audit record. Give the resource as the API shows it, which holds no secrets.
    ///
    /// # Errors
    /// As [`Tx::emit`].
    pub async fn emit_change<E: Event, R: serde::Serialize>(
        &mut self,
        event: E,
        before: &R,
        after: &R,
    ) -> Result<Recorded> {
        let details = Details::between(before, after)?;
        let tenant = self.tenant;
        event::buffer(self.work_mut(), tenant, &event, details).await
    }

    /// Records an event of the customer's own: to those who subscribe to such events, and not to
    /// the audit log.
    pub fn emit_custom(&mut self, event: CustomEvent) {
        let tenant = self.tenant;
        event::buffer_custom(self.work_mut(), tenant, event, None);
    }

    /// Asks for work to be done once this is committed.
    ///
    /// # Errors
    /// When the arguments cannot be written as JSON.
    pub fn enqueue<J: Job>(&mut self, job: &J) -> Result<()> {
        let job = NewJob::of(self.tenant, job, Duration::ZERO, None)?;
        self.work_mut().jobs.push(job);
        Ok(())
    }

    /// Asks for work to be done after a while of business time.
    ///
    /// # Errors
    /// When the arguments cannot be written as JSON.
    pub fn enqueue_after<J: Job>(&mut self, job: &J, after: Duration) -> Result<()> {
        let job = NewJob::of(self.tenant, job, after, self.virtual_time(after))?;
        self.work_mut().jobs.push(job);
        Ok(())
    }

    /// Tells every node, once this is committed, that what it remembers about `subject` is stale.
    pub fn announce(&mut self, change: Change) {
        self.work_mut().changes.push(change);
    }

    /// Commits. Only for a transaction that the caller opened.
    ///
    /// # Errors
    /// When PostgreSQL refuses; then nothing was kept.
    pub async fn commit(mut self) -> Result<()> {
        match self.work.take() {
            Some(work) => work.commit().await,
            None => Err(Error::internal("the transaction was already handed back")),
        }
    }

    fn work(&self) -> &Work {
        self.work.as_deref().unwrap_or_else(|| unreachable!("a Tx is only empty once consumed"))
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        self.work.as_deref_mut().unwrap_or_else(|| unreachable!("a Tx is only empty once consumed"))
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.slot.lock().work = Some(work);
        }
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.lock().began.is_some()
    }

    /// Ends the request's transaction: commits when `keep`, else rolls back.
    pub(crate) async fn finish(&self, keep: bool) -> Result<()> {
        let (work, began) = {
            let mut state = self.lock();
            (state.work.take(), state.began.take())
        };
        match (work, began) {
            (Some(work), _) if keep => work.commit().await,
            // Awaited, so that what the transaction held is free when the answer arrives.
            (Some(work), _) => work.db.rollback().await.map_err(Into::into),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::internal("a Tx outlived its handler")),
        }
    }
}

impl Work {
    fn new(db: Db, origin: Arc<Origin>, wide: bool) -> Self {
        Self {
            db,
            wide,
            origin,
            events: Vec::new(),
            new_keys: Vec::new(),
            changes: Vec::new(),
            jobs: Vec::new(),
            settles: None,
        }
    }

    pub(crate) fn db(&mut self) -> &mut Db {
        &mut self.db
    }

    pub(crate) fn is_wide(&self) -> bool {
        self.wide
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(crate) fn settles(&mut self, job: Arc<AtomicBool>) {
        self.settles = Some(job);
    }

    pub(crate) fn push(&mut self, event: EventRow, new_key: Option<NewKey>) {
        self.events.push(event);
        self.new_keys.extend(new_key);
    }

    pub(crate) fn new_key(&self, tenant: TenantId, subject: &str) -> Option<&NewKey> {
        self.new_keys.iter().find(|key| key.tenant == tenant && key.subject == subject)
    }

    /// What was buffered in a transaction that cannot write must not be lost in silence.
    fn nothing_to_keep(&self) -> Result<()> {
        if self.events.is_empty() && self.jobs.is_empty() && self.changes.is_empty() {
            return Ok(());
        }
        Err(Error::internal("a GET has something to keep: its route must say .recorded()"))
    }

    /// Writes what was buffered, commits, and only then tells others.
    async fn commit(mut self: Box<Self>) -> Result<()> {
        if self.db.is_read_only() {
            self.nothing_to_keep()?;
            self.db.end();
            return Ok(());
        }
        let woken = event::write(&mut self.db, &self.events, &self.origin.app).await?;
        let hand_over = HandOver::write(&self.origin.app, &mut self.db, &self.jobs).await?;
        let ids = self.events.iter().map(EventRow::id).chain(self.jobs.iter().map(|job| job.id));
        trace::note(&mut self.db, self.origin.trace.as_ref(), ids).await?;
        crate::changes::write(&mut self.db, &self.changes).await?;
        let Self { db, origin, new_keys, changes, jobs, settles, .. } = *self;
        db.commit().await?;
        if let Some(settled) = settles {
            settled.store(true, Ordering::Release);
        }
        let app = &origin.app;
        app.subject_keys().remember(new_keys);
        if woken.is_empty() && jobs.is_empty() && changes.is_empty() {
            return Ok(());
        }
        // Hand over in memory on this node; others are told to look.
        if changes.iter().any(clocks::concerns) {
            // Whoever set a clock sees it from the next request on.
            clocks::refresh(app).await;
        }
        app.changes().committed(changes);
        woken.iter().for_each(|subscriber| app.wakers().outbox(subscriber).notify_one());
        hand_over.start(app);
        app.wakers().tell();
        Ok(())
    }
}

// The three wide transactions differ in the role they take, and in nothing else.
macro_rules! wide_transaction {
    ($name:ident, $access:expr) => {
        impl $name {
            pub(crate) async fn begin(origin: Arc<Origin>) -> Result<Self> {
                let db = origin.app.database().begin($access).await?;
                Ok(Self(Work::new(db, origin, true)))
            }

            /// The database, for `sqlx` queries.
            pub fn db(&mut self) -> &mut Db {
                &mut self.0.db
            }

            /// Real time.
            #[must_use]
            pub fn real_now(&self) -> Timestamp {
                self.0.origin.app.config().clock.now()
            }

            /// Records that something happened in `tenant`: audit record and event.
            ///
            /// # Errors
            /// When the event cannot be written as JSON or its personal part cannot be sealed.
            pub async fn emit<E: Event>(&mut self, tenant: TenantId, event: E) -> Result<Recorded> {
                event::buffer(&mut self.0, tenant, &event, Details::default()).await
            }

            /// Records a change in `tenant` with the fields that differ, before and after.
            ///
            /// # Errors
            /// As when emitting without them.
            pub async fn emit_change<E: Event, R: serde::Serialize>(
                &mut self,
                tenant: TenantId,
                event: E,
                before: &R,
                after: &R,
            ) -> Result<Recorded> {
                let details = Details::between(before, after)?;
                event::buffer(&mut self.0, tenant, &event, details).await
            }

            /// Tells every node, once this is committed, that what it remembers about a subject
            /// is stale.
            pub fn announce(&mut self, change: Change) {
                self.0.changes.push(change);
            }

            /// Asks for work to be done in `tenant` once this is committed.
            ///
            /// # Errors
            /// When the arguments cannot be written as JSON.
            pub fn enqueue<J: Job>(&mut self, tenant: TenantId, job: &J) -> Result<()> {
                let job = NewJob::of(tenant, job, Duration::ZERO, None)?;
                self.0.jobs.push(job);
                Ok(())
            }

            /// Commits; without it nothing is kept.
            ///
            /// # Errors
            /// When PostgreSQL refuses; then nothing was kept.
            pub async fn commit(self) -> Result<()> {
                Box::new(self.0).commit().await
            }
        }
    };
}

wide_transaction!(AccountTx, Access::Account);
wide_transaction!(PlatformTx, Access::Platform);
wide_transaction!(SystemTx, Access::Dispatch);

impl SystemTx {
    /// The running application.
    #[must_use]
    pub fn app(&self) -> &Arc<crate::App> {
        &self.0.origin.app
    }

    /// For what is simply done again when PostgreSQL dies within the next second: taking rows off
    /// the outbox, claiming jobs. What is committed after it by waiting for the disk keeps it too.
    pub(crate) async fn begin_redoable(origin: Arc<Origin>) -> Result<Self> {
        let db = origin.app.database().begin(Access::DispatchRedoable).await?;
        Ok(Self(Work::new(db, origin, true)))
    }

    /// Business time of a tenant.
    #[must_use]
    pub fn now(&self, tenant: TenantId) -> Timestamp {
        let real = self.real_now();
        self.0.origin.app.clocks().get(tenant).map_or(real, |clock| clock.at(real))
    }

    /// As [`Tx::emit_custom`], for any tenant; the subscriber `handled_by` has had the event in this
    /// transaction.
    pub fn emit_custom(
        &mut self,
        tenant: TenantId,
        event: CustomEvent,
        handled_by: Option<&'static str>,
    ) {
        event::buffer_custom(&mut self.0, tenant, event, handled_by);
    }

    /// As [`Tx::virtual_time`], for any tenant.
    pub(crate) fn virtual_time(&self, tenant: TenantId, after: Duration) -> Option<Timestamp> {
        let clock = self.0.origin.app.clocks().get(tenant).filter(|_| !after.is_zero())?;
        Some(clock.at(self.real_now()) + after)
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        &mut self.0
    }
}

impl AccountTx {
    pub(crate) fn keyring(&self) -> &crate::crypto::Keyring {
        self.0.origin.app.keyring()
    }
}
