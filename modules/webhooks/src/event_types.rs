//! `/event-types`: what there is to subscribe to, Freehold's own and the customer's.

use freehold_kernel::{
    Created, Error, Event, FromSegment, IfMatch, Json, List, NoContent, NoFilter, OnConstraint,
    Page, Path, Result, Routes, Timestamp, Tx, WithEtag, endpoint,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::types::Json as Kept;
use utoipa::ToSchema;

use crate::catalogue::announce;
use crate::event_type_input::{Checked, NewEventType, UpdateEventType};
use crate::events::{check_word, type_name};

/// Types of one tenant.
const TYPES_MAX: i64 = 1_000;
/// Their schemas and samples together: a page of them may have them all.
const BYTES_MAX: i64 = 4 * 1024 * 1024;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/event-types")
        .get("/", "events:read", list_event_types)
        .portal()
        .post("/", "event-types:write", create_event_type)
        .get("/{name}", "events:read", get_event_type)
        .patch("/{name}", "event-types:write", update_event_type)
        .delete("/{name}", "event-types:write", delete_event_type)
}

/// A kind of event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::EventType)]
struct EventType {
    /// Its name, as in an endpoint's `events`.
    #[schema(example = "order.paid")]
    name: String,
    /// Whose it is: `freehold`, or `custom` for the tenant's own.
    #[schema(example = "custom")]
    source: &'static str,
    /// What happened.
    #[schema(example = "An order was paid in full.")]
    description: String,
    /// JSON Schema of the request's `data`; null: whatever is sent.
    #[schema(value_type = Option<Object>, example = json!({"type": "object"}))]
    schema: Option<Value>,
    /// An example of the request's `data`.
    #[schema(value_type = Option<Object>, example = json!({"orderId": "A-1001"}))]
    sample: Option<Value>,
    /// Whether nobody should begin to use it. Its events are checked and sent as before.
    #[schema(example = false)]
    deprecated: bool,
    /// Who made it; null for Freehold's.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    created_by: Option<String>,
    /// When it was made; null for Freehold's.
    created_at: Option<Timestamp>,
    /// Goes up with every change; the `ETag`. 0 for Freehold's.
    #[schema(example = 1)]
    version: i64,
}

/// The name of a kind of event in a path.
struct TypeName(String);

impl FromSegment for TypeName {
    fn schema() -> Value {
        json!({"type": "string", "minLength": 3, "maxLength": 128, "example": "order.paid"})
    }

    fn from_segment(segment: &str) -> Option<Self> {
        let is_name = segment.len() <= 128 && type_name(segment, &()).is_ok();
        is_name.then(|| Self(segment.to_owned()))
    }
}

/// A kind of event of the tenant's own was declared.
#[derive(Serialize, ToSchema, Event)]
#[schema(as = webhooks::EventTypeCreated)]
#[event(type = "event_type.created", subject = name)]
pub(crate) struct EventTypeCreated {
    /// Its name.
    #[schema(example = "order.paid")]
    name: String,
}

/// A kind of event of the tenant's own was changed.
#[derive(Serialize, ToSchema, Event)]
#[schema(as = webhooks::EventTypeUpdated)]
#[event(type = "event_type.updated", subject = name)]
pub(crate) struct EventTypeUpdated {
    /// Its name.
    #[schema(example = "order.paid")]
    name: String,
}

/// A kind of event of the tenant's own was removed; its events are checked no more.
#[derive(Serialize, ToSchema, Event)]
#[schema(as = webhooks::EventTypeDeleted)]
#[event(type = "event_type.deleted", subject = name)]
pub(crate) struct EventTypeDeleted {
    /// Its name.
    #[schema(example = "order.paid")]
    name: String,
}

/// List the kinds of events, Freehold's and the tenant's own, by name, with schemas and samples. With a
/// portal link the tenant's own alone: what happens in the tenant is not its customers' business.
#[endpoint]
async fn list_event_types(list: List<NoFilter>, mut tx: Tx) -> Result<Page<EventType>> {
    let (tenant, after) = (tx.tenant(), list.after::<String>()?);
    let rows = sqlx::query_as!(
        Row,
        r#"select name, description, schema, sample, is_deprecated, created_by, created_at, version
           from webhooks.event_types
           where tenant_id = $1 and ($2::text is null or name > $2)
           order by name limit $3"#,
        *tenant,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    let is_customer = tx.actor()?.customer.is_some();
    let ours = if is_customer { &[] } else { tx.app().events() };
    let ours = ours.iter().filter(|kind| after.as_deref().is_none_or(|after| kind.name > after));
    let mut kinds: Vec<EventType> = ours.map(of_freehold).collect();
    kinds.extend(rows.into_iter().map(EventType::from));
    kinds.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    list.page(kinds, |kind| kind.name.clone())
}

/// Declare a kind of event of one's own. With a schema, events of this type are refused unless
/// their `data` satisfies it.
#[endpoint(
    "webhooks.reserved_type",
    "webhooks.type_exists",
    "webhooks.too_many_event_types",
    "webhooks.schema_refused",
    "webhooks.schema_mismatch"
)]
async fn create_event_type(
    Json(new): Json<NewEventType>,
    mut tx: Tx,
) -> Result<Created<EventType>> {
    check_word(tx.app(), "/name", &new.name)?;
    let checked = Checked::of(new.schema, new.sample).await?;
    lock(&mut tx).await?;
    let (tenant, now) = (tx.tenant(), tx.real_now());
    let created_by = tx.actor()?.principal.to_string();
    sqlx::query!(
        "insert into webhooks.event_types
           (tenant_id, name, description, schema, schema_digest, sample, is_deprecated, bytes,
            created_by, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        *tenant,
        new.name,
        new.description,
        checked.schema.as_ref().map(Kept) as _,
        checked.digest(),
        checked.sample.as_ref().map(Kept) as _,
        new.deprecated,
        checked.bytes(),
        created_by,
        now as _,
    )
    .execute(tx.db())
    .await
    .on_constraint("event_types_pkey", exists)?;
    check_room(&mut tx).await?;
    announce(&mut tx);
    let created = find(&mut tx, &new.name).await?;
    tx.emit(EventTypeCreated { name: new.name }).await?;
    Ok(Created(created))
}

/// See a kind of event.
#[endpoint]
async fn get_event_type(
    Path(TypeName(name)): Path<TypeName>,
    mut tx: Tx,
) -> Result<WithEtag<EventType>> {
    let own = tx.app().events().iter().find(|kind| kind.name == name).map(of_freehold);
    match own {
        Some(own) => Ok(own.into()),
        None => Ok(find(&mut tx, &name).await?.into()),
    }
}

/// Change a kind of event of one's own; a schema or sample takes the place of the one before it.
/// With `If-Match`, only if nobody else has meanwhile. Events that were taken stay as they are.
#[endpoint("webhooks.too_many_event_types", "webhooks.schema_refused", "webhooks.schema_mismatch")]
async fn update_event_type(
    Path(TypeName(name)): Path<TypeName>,
    if_match: IfMatch,
    Json(patch): Json<UpdateEventType>,
    mut tx: Tx,
) -> Result<WithEtag<EventType>> {
    let before = find(&mut tx, &name).await?;
    if_match.check(before.version)?;
    let checked = Checked::of(
        patch.schema.apply(object(before.schema.clone())),
        patch.sample.apply(object(before.sample.clone())),
    )
    .await?;
    lock(&mut tx).await?;
    let tenant = tx.tenant();
    let changed = sqlx::query!(
        "update webhooks.event_types
         set description = $3, schema = $4, schema_digest = $5, sample = $6,
           is_deprecated = coalesce($7, is_deprecated), bytes = $8, version = version + 1
         where tenant_id = $1 and name = $2 and version = $9",
        *tenant,
        name,
        patch.description.or_default(&before.description, ""),
        checked.schema.as_ref().map(Kept) as _,
        checked.digest(),
        checked.sample.as_ref().map(Kept) as _,
        patch.deprecated,
        checked.bytes(),
        before.version,
    )
    .execute(tx.db())
    .await?;
    if changed.rows_affected() == 0 {
        return Err(Error::stale());
    }
    check_room(&mut tx).await?;
    announce(&mut tx);
    let after = find(&mut tx, &name).await?;
    tx.emit_change(EventTypeUpdated { name }, &before, &after).await?;
    Ok(after.into())
}

/// Remove a kind of event of one's own. Events of this type are taken as before, unchecked.
#[endpoint]
async fn delete_event_type(Path(TypeName(name)): Path<TypeName>, mut tx: Tx) -> Result<NoContent> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "delete from webhooks.event_types where tenant_id = $1 and name = $2 returning version",
        *tenant,
        name,
    )
    .fetch_one(tx.db())
    .await?;
    announce(&mut tx);
    tx.emit(EventTypeDeleted { name }).await?;
    Ok(NoContent)
}

fn exists() -> Error {
    Error::conflict("webhooks.type_exists", "There is a type of this name; change that one.")
}

/// One at a time, or two could both find the last place free.
async fn lock(tx: &mut Tx) -> Result<()> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select tenant_id from core.tenants where tenant_id = $1 for no key update",
        *tenant
    )
    .fetch_one(tx.db())
    .await?;
    Ok(())
}

/// Refuses what makes it too many, or too much.
async fn check_room(tx: &mut Tx) -> Result<()> {
    let tenant = tx.tenant();
    let all = sqlx::query!(
        r#"select count(*) as "count!", coalesce(sum(bytes), 0) as "bytes!"
           from webhooks.event_types where tenant_id = $1"#,
        *tenant,
    )
    .fetch_one(tx.db())
    .await?;
    if all.count <= TYPES_MAX && all.bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(Error::forbidden(
        "webhooks.too_many_event_types",
        format!(
            "A tenant has at most {TYPES_MAX} event types, and 4 MiB of schemas and samples, in which \
             a regular expression counts for 4 KiB; remove one first."
        ),
    ))
}

/// A type of the tenant's own as it is kept.
struct Row {
    name: String,
    description: String,
    schema: Option<Value>,
    sample: Option<Value>,
    is_deprecated: bool,
    created_by: String,
    created_at: Timestamp,
    version: i64,
}

async fn find(tx: &mut Tx, name: &str) -> Result<EventType> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select name, description, schema, sample, is_deprecated, created_by, created_at, version
           from webhooks.event_types where tenant_id = $1 and name = $2"#,
        *tenant,
        name,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(row.into())
}

fn object(value: Option<Value>) -> Option<Map<String, Value>> {
    match value {
        Some(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

fn of_freehold(kind: &freehold_kernel::EventType) -> EventType {
    EventType {
        name: kind.name.to_owned(),
        source: "freehold",
        description: kind.description.to_owned(),
        schema: Some(kind.public_schema()),
        sample: Some(kind.public_sample()),
        deprecated: false,
        created_by: None,
        created_at: None,
        version: 0,
    }
}

impl From<Row> for EventType {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            source: "custom",
            description: row.description,
            schema: row.schema,
            sample: row.sample,
            deprecated: row.is_deprecated,
            created_by: Some(row.created_by),
            created_at: Some(row.created_at),
            version: row.version,
        }
    }
}

impl From<EventType> for WithEtag<EventType> {
    fn from(kind: EventType) -> Self {
        Self { version: kind.version, value: kind }
    }
}
