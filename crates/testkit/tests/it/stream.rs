//! What happens after a commit, in small: subscribers, kinds of jobs, a schedule, and what a test
//! asks about them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use freehold_kernel::{
    CustomEvent, Error, Event, EventId, Interest, Json, Module, NoContent, OnConstraint, Result,
    Routes, ScheduleFn, StoredEvent, SystemTx, TenantId, Timestamp, Tx, endpoint,
};
use freehold_testkit::{Tenant, TestApp};
use futures_util::future::BoxFuture;
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fixture;
use crate::gate::Gate;
use crate::work::{Act, Brief, Bulk, Keyed, Quick};

/// The fixture with a subscriber, jobs and routes that ask for them.
pub(crate) fn module() -> Module {
    fixture::module()
        .on_events(Interest::Only(&["thing.created"]), note)
        .job::<Act>()
        .job::<Brief>()
        .job::<Keyed>()
        .job::<Bulk>()
        .job::<Quick>()
        .routes(
            Routes::at("/api/v1/things/stream")
                .post("/work", "things:write", ask)
                .post("/custom", "things:write", emit_custom)
                .post("/clock", "things:write", set_clock)
                .get("/clock", "things:read", read_clock)
                .post("/seal", "things:write", seal)
                .post("/open", "things:write", open),
        )
}

/// With a schedule that notes its ticks.
pub(crate) fn ticking(every: Duration, tick: ScheduleFn) -> Module {
    module().schedule("fixture.tick", every, tick)
}

/// Two more subscribers, for all there is and for Freehold's own.
pub(crate) fn listeners() -> [Module; 2] {
    [
        Module::new("everything")
            .on_events(Interest::All, |tx, events| Box::pin(write_seen(tx, "everything", events))),
        Module::new("freehold").on_events(Interest::Freehold, |tx, events| {
            Box::pin(write_seen(tx, "freehold", events))
        }),
    ]
}

/// What jobs of a tenant wait for and leave behind in this process.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) gate: Gate,
    pub(crate) runs: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most: AtomicUsize,
}

impl Watch {
    pub(crate) fn of(tenant: impl Into<TenantId>) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<TenantId, Arc<Watch>>>> = LazyLock::new(Mutex::default);
        ALL.lock().unwrap().entry(tenant.into()).or_default().clone()
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// Counts a run while the guard lives.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Inside(self.clone())
    }
}

pub(crate) struct Inside(Arc<Watch>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Asks until there is an answer.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut answer: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = answer().await {
            return found;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a query counts this many.
pub(crate) async fn counts(app: &TestApp, sql: &'static str, wanted: i64) {
    let limit = Duration::from_secs(10);
    within(limit, &format!("{sql} = {wanted}"), async || {
        (count(app, sql).await == wanted).then_some(())
    })
    .await;
}

pub(crate) async fn count(app: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(app.sql()).await.unwrap()
}

pub(crate) async fn run(app: &TestApp, sql: &'static str) {
    sqlx::raw_sql(sql).execute(app.sql()).await.unwrap();
}

/// The names of things, which is what jobs leave behind.
pub(crate) async fn names(app: &TestApp) -> Vec<String> {
    let names = sqlx::query_scalar("select name from fixture.things order by name");
    names.fetch_all(app.sql()).await.unwrap()
}

/// Asks for a job as a request does.
pub(crate) async fn enqueue(app: &TestApp, tenant: &Tenant, job: &Act) {
    let owner = app.principal(tenant).everything();
    owner.post("/api/v1/things/stream/work", Asked::of(job)).await.expect(204);
}

/// A job to be asked for.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::Asked)]
pub(crate) struct Asked {
    /// What it leaves behind.
    #[garde(length(chars, max = 80))]
    pub(crate) name: String,
    /// How it goes about it.
    #[garde(length(chars, max = 80))]
    pub(crate) mode: String,
    /// Whether the request fails afterwards.
    #[garde(skip)]
    pub(crate) refused: bool,
    /// Business time to wait.
    #[garde(skip)]
    pub(crate) after_s: u32,
}

impl Asked {
    pub(crate) fn of(job: &Act) -> Self {
        Self { name: job.name.clone(), mode: job.mode.clone(), refused: false, after_s: 0 }
    }
}

/// Ask for a job.
#[endpoint("fixture.refused")]
async fn ask(mut tx: Tx, Json(asked): Json<Asked>) -> Result<NoContent> {
    let job = Act { name: asked.name, mode: asked.mode };
    tx.enqueue_after(&job, Duration::from_secs(asked.after_s.into()))?;
    tx.emit(Asking { name: job.name }).await?;
    if asked.refused {
        return Err(Error::conflict("fixture.refused", "As was asked for."));
    }
    Ok(NoContent)
}

/// A job was asked for.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "thing.created", subject = name)]
pub(crate) struct Asking {
    /// Its name.
    pub(crate) name: String,
}

/// A text.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::Word)]
struct Word {
    /// Where it belongs.
    #[garde(length(chars, max = 80))]
    place: String,
    /// What it says.
    #[garde(length(chars, max = 800))]
    text: String,
}

/// Emit an event of the customer's own.
#[endpoint]
async fn emit_custom(mut tx: Tx, Json(word): Json<Word>) -> Result<NoContent> {
    let (id, kind) = (EventId::new(), word.text);
    tx.emit_custom(CustomEvent {
        id,
        at: tx.real_now(),
        kind,
        actor: "system".to_owned(),
        subject: id.to_string(),
        request_id: String::new(),
        data: Value::Null,
        occurred_at: None,
    });
    Ok(NoContent)
}

/// A clock.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::Setting)]
pub(crate) struct Setting {
    /// What it shows.
    #[garde(skip)]
    pub(crate) to: Timestamp,
    /// Whether it stands.
    #[garde(skip)]
    pub(crate) frozen: bool,
}

/// Set the clock.
#[endpoint("core.not_a_sandbox")]
async fn set_clock(mut tx: Tx, Json(new): Json<Setting>) -> Result<NoContent> {
    tx.set_clock(new.to, new.frozen).await?;
    Ok(NoContent)
}

/// Read the clock.
#[endpoint]
async fn read_clock(tx: Tx) -> Result<Json<Setting>> {
    Ok(Json(Setting { to: tx.now(), frozen: tx.clock().is_some_and(|clock| clock.frozen) }))
}

/// Seal a text.
#[endpoint]
async fn seal(mut tx: Tx, Json(word): Json<Word>) -> Result<Json<Word>> {
    let sealed = tx.seal(&[word.place.as_bytes()], word.text.as_bytes()).await?;
    Ok(Json(Word { text: hex::encode(sealed), place: word.place }))
}

/// Open a text.
#[endpoint]
async fn open(mut tx: Tx, Json(word): Json<Word>) -> Result<Json<Word>> {
    let sealed = hex::decode(&word.text).map_err(Error::internal)?;
    let plain = tx.open(&[word.place.as_bytes()], &sealed).await?;
    let text = String::from_utf8(plain).map_err(Error::internal)?;
    Ok(Json(Word { text, place: word.place }))
}

fn note<'a>(tx: &'a mut SystemTx, events: &'a [StoredEvent]) -> BoxFuture<'a, Result<()>> {
    Box::pin(write_seen(tx, "fixture", events))
}

async fn write_seen(tx: &mut SystemTx, subscriber: &str, events: &[StoredEvent]) -> Result<()> {
    for event in events {
        let missing = match event.data["name"].as_str() {
            Some("poison") => return Err(Error::internal("a poison event")),
            Some("panic") => panic!("a subscriber panics"),
            Some("late poison") => Some(Uuid::now_v7()),
            _ => None,
        };
        sqlx::query(
            "insert into fixture.seen (subscriber, event_id, tenant_id, type, missing)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(subscriber)
        .bind(*event.id)
        .bind(*event.tenant)
        .bind(&event.kind)
        .bind(missing)
        .execute(tx.db())
        .await
        .on_constraint("seen_missing_fkey", Error::not_found)?;
    }
    Ok(())
}
