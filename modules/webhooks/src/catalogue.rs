//! The tenants' own kinds of events, as a node remembers them, and events held against them.
//!
//! Two memories: which types of a tenant have a schema, forgotten on every node when one changes, and
//! schemas that were compiled, found by what they say and so never stale. An event whose tenant and
//! type are remembered costs no question to the database.

use std::collections::HashMap;
use std::sync::Arc;

use freehold_kernel::{Change, Cx, Error, FieldError, Result, TenantId, Tx};
use moka::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::schema::{LISTED_MAX, Schema, Violation, steps_for};

/// Tenants whose types are remembered.
const TENANTS_MAX: u64 = 10_000;
/// Memory for compiled schemas, at the most and roughly.
const SCHEMA_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Steps that checking may take: for a request, and for each event besides what its size allows.
const STEPS: u64 = 100_000;
const STEPS_EACH: u64 = 2_000;
/// The topic of changes to a tenant's types.
const TOPIC: &str = "event_types";

/// Names a schema by what it says.
type Digest = [u8; 32];

/// An event that is about to be sent.
pub(crate) struct Candidate<'a> {
    /// Its place in the body, as in `/3`.
    pub(crate) place: String,
    /// What happened.
    pub(crate) kind: &'a str,
    /// What receivers would get. As it was, after the check.
    pub(crate) data: &'a mut Map<String, Value>,
}

/// What a node remembers of the tenants' own kinds of events.
#[derive(Clone)]
pub(crate) struct Catalogue {
    tenants: Cache<TenantId, Arc<OnceCell<Types>>>,
    schemas: Cache<(TenantId, Digest), Arc<Compiled>>,
}

/// The types of a tenant that have a schema.
type Types = HashMap<String, Digest>;

struct Compiled {
    schema: Schema,
    weight: u32,
}

impl Default for Catalogue {
    fn default() -> Self {
        let schemas = Cache::builder()
            .max_capacity(SCHEMA_BYTES_MAX)
            .weigher(|_, compiled: &Arc<Compiled>| compiled.weight)
            .build();
        Self { tenants: Cache::new(TENANTS_MAX), schemas }
    }
}

impl Catalogue {
    /// Refuses events that are not as the schema of their type says. Asks the database only for what
    /// is not remembered, in a transaction that ends before anything is checked.
    ///
    /// # Errors
    /// 422 with what is wrong, of all events together.
    pub(crate) async fn check<'a>(
        &self,
        cx: &Cx,
        events: impl Iterator<Item = Candidate<'a>> + Send,
    ) -> Result<()> {
        let Some(tenant) = cx.signed_in()?.tenant else { return Ok(()) };
        let events: Vec<_> = events.collect();
        let wanted = self.schemas_of(cx, tenant, &events).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let checked = events.into_iter().filter_map(|event| {
            let compiled = wanted.get(event.kind)?.clone();
            Some((compiled, event))
        });
        let mut check = Check { steps: STEPS, found: Vec::new() };
        for (compiled, event) in checked {
            check.event(&compiled.schema, event)?;
            if check.found.len() >= LISTED_MAX {
                break;
            }
            // Others want this thread, too.
            tokio::task::yield_now().await;
        }
        if check.found.is_empty() { Ok(()) } else { Err(Error::invalid_fields(check.found)) }
    }

    /// Forgets which types a tenant has, where that has changed.
    pub(crate) fn forget(&self, change: &Change) {
        if change.topic == TOPIC
            && let Ok(tenant) = change.subject.parse::<TenantId>()
        {
            self.tenants.invalidate(&tenant);
        }
    }

    /// The schemas of the types of these events, by type.
    async fn schemas_of(
        &self,
        cx: &Cx,
        tenant: TenantId,
        events: &[Candidate<'_>],
    ) -> Result<HashMap<String, Arc<Compiled>>> {
        // Remembered before it is filled: whoever forgets it while it is being read takes it away
        // from all who come later, and these read anew.
        let types = self.tenants.get_with(tenant, Arc::default);
        let types = types.get_or_try_init(|| read_types(cx)).await?;
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        for event in events {
            let Some(digest) = types.get(event.kind) else { continue };
            if found.contains_key(event.kind) {
                continue;
            }
            match self.schemas.get(&(tenant, *digest)) {
                Some(compiled) => {
                    found.insert(event.kind.to_owned(), compiled);
                }
                None => missing.push(event.kind.to_owned()),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            found.extend(self.compile(cx, tenant, &missing).await?);
        }
        Ok(found)
    }

    /// Reads and compiles the schemas of these types, and remembers them.
    async fn compile(
        &self,
        cx: &Cx,
        tenant: TenantId,
        names: &[String],
    ) -> Result<Vec<(String, Arc<Compiled>)>> {
        let rows = read_schemas(cx, names).await?;
        let mut compiled = Vec::with_capacity(rows.len());
        for (name, digest, text) in rows {
            let schema = Schema::understand(&serde_json::from_str(&text)?).map_err(|found| {
                Error::internal(format!(
                    "a schema that was kept: {} {}",
                    found.pointer, found.words
                ))
            })?;
            let weight = u32::try_from(schema.weight(text.len())).unwrap_or(u32::MAX);
            let schema = Arc::new(Compiled { schema, weight });
            self.schemas.insert((tenant, digest), schema.clone());
            compiled.push((name, schema));
            tokio::task::yield_now().await;
        }
        Ok(compiled)
    }
}

/// Tells every node, once this is committed, that the tenant's types have changed.
pub(crate) fn announce(tx: &mut Tx) {
    let change = Change::of(TOPIC, &tx.tenant());
    tx.announce(change);
}

async fn read_types(cx: &Cx) -> Result<Types> {
    let mut tx = cx.tx().await?;
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select name, schema_digest as "digest!" from webhooks.event_types
           where tenant_id = $1 and schema_digest is not null"#,
        *tenant,
    )
    .fetch_all(tx.db())
    .await?;
    rows.into_iter().map(|row| Ok((row.name, as_digest(&row.digest)?))).collect()
}

async fn read_schemas(cx: &Cx, names: &[String]) -> Result<Vec<(String, Digest, String)>> {
    let mut tx = cx.tx().await?;
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select name, schema_digest as "digest!", schema::text as "text!"
           from webhooks.event_types
           where tenant_id = $1 and name = any($2) and schema_digest is not null"#,
        *tenant,
        names,
    )
    .fetch_all(tx.db())
    .await?;
    rows.into_iter().map(|row| Ok((row.name, as_digest(&row.digest)?, row.text))).collect()
}

fn as_digest(bytes: &[u8]) -> Result<Digest> {
    bytes.try_into().map_err(|_| Error::internal("a digest that is none"))
}

/// The check of one request's events.
struct Check {
    steps: u64,
    found: Vec<FieldError>,
}

impl Check {
    fn event(&mut self, schema: &Schema, event: Candidate<'_>) -> Result<()> {
        let Candidate { place, data, .. } = event;
        let whole = Value::Object(std::mem::take(data));
        self.steps = self.steps.saturating_add(STEPS_EACH).saturating_add(steps_for(&whole));
        let violations = schema.violations(&whole, &mut self.steps);
        if let Value::Object(whole) = whole {
            *data = whole;
        }
        let parent = format!("{place}/data");
        let violations = violations.map_err(|_| {
            let words =
                "takes too many steps to check against the schema of its type; make that simpler";
            Error::invalid(&parent, "webhooks.schema_too_costly", words)
        })?;
        let room = LISTED_MAX - self.found.len();
        self.found.extend(mismatches(&parent, violations).take(room));
        Ok(())
    }
}

/// Violations as fields of the input, under their parent.
pub(crate) fn mismatches(
    parent: &str,
    violations: Vec<Violation>,
) -> impl Iterator<Item = FieldError> {
    violations.into_iter().map(move |violation| FieldError {
        pointer: format!("{parent}{}", violation.pointer),
        code: "webhooks.schema_mismatch",
        detail: violation.words,
    })
}
