//! The tenants' own kinds of events, as a node remembers them, and events held against them.
//!
//! Two memories: which types of a tenant have a schema, forgotten on every node when one changes, and
//! schemas that were compiled, found by what they say and so never stale. An event whose tenant and
//! type are remembered costs no question to the database.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use freehold_kernel::{Change, Cx, Error, FieldError, Result, TenantId, Tx};
use moka::sync::Cache;
use serde_json::{Map, Value};

use crate::schema::{LISTED_MAX, Schema, Violation, aside, steps_for_fields};

/// Tenants whose types are remembered.
const TENANTS_MAX: u64 = 10_000;
/// Memory for compiled schemas, at the most and roughly, and one tenant's share of it.
const SCHEMA_BYTES_MAX: u64 = 256 * 1024 * 1024;
const SHARE_BYTES_MAX: u32 = 32 * 1024 * 1024;
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
    tenants: Cache<TenantId, Arc<OnceLock<Arc<Types>>>>,
    shelves: Cache<TenantId, Arc<Shelf>>,
}

/// The types of a tenant that have a schema.
type Types = HashMap<String, Digest>;

struct Compiled {
    schema: Schema,
    weight: u32,
}

/// A tenant's compiled schemas, each with a number that is higher the later it came.
#[derive(Clone, Default)]
struct Shelf {
    schemas: HashMap<Digest, (u64, Arc<Compiled>)>,
    latest: u64,
    weight: u32,
}

/// Events of one type, each with its number in the body.
struct Group<'a> {
    kind: &'a str,
    digest: Digest,
    events: Vec<(usize, Candidate<'a>)>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let shelves = Cache::builder()
            .max_capacity(SCHEMA_BYTES_MAX)
            .weigher(|_, shelf: &Arc<Shelf>| shelf.weight)
            .build();
        Self { tenants: Cache::new(TENANTS_MAX), shelves }
    }
}

impl Catalogue {
    /// Refuses events that are not as the schema of their type says. Asks the database only for what
    /// is not remembered: in the request's own transaction where it has one, for whoever holds a
    /// connection must not wait for another; else in one that ends before anything is checked.
    ///
    /// Type by type, so that no more than one schema is kept in memory for this request alone.
    ///
    /// # Errors
    /// 422 with what is wrong, of all events together.
    pub(crate) async fn check<'a>(
        &self,
        cx: &Cx,
        mut tx: Option<&mut Tx>,
        events: impl Iterator<Item = Candidate<'a>> + Send,
    ) -> Result<()> {
        let Some(tenant) = cx.signed_in()?.tenant else { return Ok(()) };
        let events: Vec<_> = events.collect();
        let types = self.types_of(cx, tenant, tx.as_deref_mut()).await?;
        let groups = grouped(&types, events);
        let mut check = Check::of(&groups);
        for group in groups {
            let found = self.schema_of(cx, tenant, &group, tx.as_deref_mut()).await?;
            let Some(compiled) = found else { continue };
            for (number, event) in group.events {
                check.event(&compiled.schema, number, event)?;
                if check.found.len() >= LISTED_MAX {
                    return check.outcome();
                }
                // Others want this thread, too.
                tokio::task::yield_now().await;
            }
        }
        check.outcome()
    }

    /// Forgets which types a tenant has, where that has changed.
    pub(crate) fn forget(&self, change: &Change) {
        if change.topic == TOPIC
            && let Ok(tenant) = change.subject.parse::<TenantId>()
        {
            self.tenants.invalidate(&tenant);
        }
    }

    /// The types of the tenant that have a schema. Who does not find them reads them, whoever else is
    /// about to: waiting for another's reading could be waiting for one who waits for our connection.
    async fn types_of(&self, cx: &Cx, tenant: TenantId, tx: Option<&mut Tx>) -> Result<Arc<Types>> {
        // Taken before it is filled: whoever forgets it while they are being read takes it away from
        // all who come later, and these read anew.
        let remembered = self.tenants.get_with(tenant, Arc::default);
        if let Some(types) = remembered.get() {
            return Ok(types.clone());
        }
        let types = Arc::new(read_types(cx, tx).await?);
        // Where another was faster, theirs is as good.
        let _ = remembered.set(types.clone());
        Ok(types)
    }

    /// The schema of these events, compiled; `None` where their type is gone meanwhile.
    async fn schema_of(
        &self,
        cx: &Cx,
        tenant: TenantId,
        group: &Group<'_>,
        tx: Option<&mut Tx>,
    ) -> Result<Option<Arc<Compiled>>> {
        let shelf = self.shelves.get(&tenant);
        if let Some((_, compiled)) =
            shelf.and_then(|shelf| shelf.schemas.get(&group.digest).cloned())
        {
            return Ok(Some(compiled));
        }
        let Some((digest, text)) = read_schema(cx, tx, group.kind).await? else { return Ok(None) };
        let compiled = Arc::new(aside(move || compile(&text)).await??);
        let kept = compiled.clone();
        self.shelves.entry(tenant).and_upsert_with(|shelf| {
            let shelf = shelf.map(moka::Entry::into_value).unwrap_or_default();
            Arc::new(shelf.with(digest, kept))
        });
        Ok(Some(compiled))
    }
}

impl Shelf {
    /// One more. Beyond the tenant's share the oldest go, so that a tenant with many takes no room from
    /// others.
    fn with(&self, digest: Digest, compiled: Arc<Compiled>) -> Self {
        let mut shelf = self.clone();
        shelf.latest += 1;
        shelf.weight = shelf.weight.saturating_add(compiled.weight);
        if let Some((_, twice)) = shelf.schemas.insert(digest, (shelf.latest, compiled)) {
            shelf.weight -= twice.weight;
        }
        while shelf.weight > SHARE_BYTES_MAX {
            let oldest = shelf.schemas.iter().min_by_key(|(_, (number, _))| *number);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else { break };
            let gone = shelf.schemas.remove(&oldest);
            shelf.weight -= gone.map_or(0, |(_, compiled)| compiled.weight);
        }
        shelf
    }
}

/// Events of types that have a schema, by type, in the order in which each type comes first.
fn grouped<'a>(types: &Types, events: Vec<Candidate<'a>>) -> Vec<Group<'a>> {
    let (mut groups, mut places) = (Vec::<Group<'a>>::new(), HashMap::new());
    for (number, event) in events.into_iter().enumerate() {
        let kind = event.kind;
        let Some(digest) = types.get(kind) else { continue };
        let place = *places.entry(kind).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { kind, digest: *digest, events: Vec::new() });
        }
        groups[place].events.push((number, event));
    }
    groups
}

fn compile(text: &str) -> Result<Compiled> {
    let schema = Schema::understand(&serde_json::from_str(text)?).map_err(|found| {
        Error::internal(format!("a schema that was kept: {} {}", found.pointer, found.words))
    })?;
    let weight = u32::try_from(schema.weight(text.len())).unwrap_or(u32::MAX);
    Ok(Compiled { schema, weight })
}

/// Tells every node, once this is committed, that the tenant's types have changed.
pub(crate) fn announce(tx: &mut Tx) {
    let change = Change::of(TOPIC, &tx.tenant());
    tx.announce(change);
}

async fn read_types(cx: &Cx, tx: Option<&mut Tx>) -> Result<Types> {
    let mut opened = None;
    let tx = match tx {
        Some(tx) => tx,
        None => opened.insert(cx.tx().await?),
    };
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

async fn read_schema(cx: &Cx, tx: Option<&mut Tx>, name: &str) -> Result<Option<(Digest, String)>> {
    let mut opened = None;
    let tx = match tx {
        Some(tx) => tx,
        None => opened.insert(cx.tx().await?),
    };
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select schema_digest as "digest!", schema::text as "text!"
           from webhooks.event_types
           where tenant_id = $1 and name = $2 and schema_digest is not null"#,
        *tenant,
        name,
    )
    .fetch_optional(tx.db())
    .await?;
    row.map(|row| Ok((as_digest(&row.digest)?, row.text))).transpose()
}

fn as_digest(bytes: &[u8]) -> Result<Digest> {
    bytes.try_into().map_err(|_| Error::internal("a digest that is none"))
}

/// The check of one request's events.
struct Check {
    steps: u64,
    /// What is wrong, with the number of the event.
    found: Vec<(usize, FieldError)>,
}

impl Check {
    /// With the steps of all events together, so that the order in which they are checked does not
    /// matter.
    fn of(groups: &[Group<'_>]) -> Self {
        let events = groups.iter().flat_map(|group| &group.events);
        let each = events.map(|(_, event)| STEPS_EACH.saturating_add(steps_for_fields(event.data)));
        Self { steps: each.fold(STEPS, u64::saturating_add), found: Vec::new() }
    }

    fn event(&mut self, schema: &Schema, number: usize, event: Candidate<'_>) -> Result<()> {
        let Candidate { place, data, .. } = event;
        let whole = Value::Object(std::mem::take(data));
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
        let found = mismatches(&parent, violations).map(|error| (number, error));
        self.found.extend(found.take(room));
        Ok(())
    }

    /// What was found, in the order of the events.
    fn outcome(mut self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(number, _)| *number);
        Err(Error::invalid_fields(self.found.into_iter().map(|(_, error)| error).collect()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_a_tenants_share_drives_out_its_oldest() {
        let compiled = |weight| {
            let schema = Schema::understand(&Map::new()).unwrap_or_else(|_| unreachable!());
            Arc::new(Compiled { schema, weight })
        };
        let third = SHARE_BYTES_MAX / 3;
        let mut shelf = Shelf::default();
        for n in 0..5 {
            shelf = shelf.with([n; 32], compiled(third));
        }
        let mut left: Vec<u8> = shelf.schemas.keys().map(|digest| digest[0]).collect();
        left.sort_unstable();
        assert_eq!((left, shelf.weight), (vec![2, 3, 4], 3 * third));
        // One that two requests compiled at once is there once.
        shelf = shelf.with([2; 32], compiled(third));
        assert_eq!((shelf.schemas.len(), shelf.weight), (3, 3 * third));
        // And is the latest then.
        shelf = shelf.with([7; 32], compiled(2 * third));
        assert!(shelf.schemas.contains_key(&[2; 32]) && shelf.schemas.contains_key(&[7; 32]));
        shelf = shelf.with([8; 32], compiled(SHARE_BYTES_MAX + 1));
        assert_eq!((shelf.schemas.len(), shelf.weight), (0, 0));
    }
}
