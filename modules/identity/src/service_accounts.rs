//! Service accounts: programs with roles of their own, that survive whoever made them.

use freehold_kernel::{
    Change, Created, Error, Event, Id, Json, List, NoContent, NoFilter, OnConstraint, Page, Path,
    Principal, Result, RoleId, Routes, ServiceAccountId, Timestamp, Tx, directory, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{api_keys, grants, principal};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/service-accounts")
        .get("/", "service-accounts:read", list_service_accounts)
        .post("/", "service-accounts:write", create_service_account)
        .recent_when("a role that it gets allows `users:transfer`, as Owner does")
        .delete("/{id}", "service-accounts:delete", delete_service_account)
}

/// A program of the tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ServiceAccount)]
struct ServiceAccount {
    /// The service account.
    id: ServiceAccountId,
    /// What it is called; unique in the tenant.
    #[schema(example = "nightly import")]
    name: String,
    /// The roles it holds.
    role_ids: Vec<RoleId>,
    /// When it was made.
    created_at: Timestamp,
}

/// A service account to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::NewServiceAccount)]
struct NewServiceAccount {
    /// What to call it; unique in the tenant.
    #[garde(length(chars, max = 100), custom(rules::readable))]
    #[schema(example = "nightly import", format = "name", max_length = 100)]
    name: String,
    /// The roles to give it; they may allow no more than the caller may do.
    #[garde(length(min = 1, max = 20))]
    #[schema(max_items = 20, min_items = 1)]
    role_ids: Vec<RoleId>,
}

/// A service account was made.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ServiceAccountCreated)]
#[event(type = "serviceaccount.created", subject = service_account_id)]
pub(crate) struct ServiceAccountCreated {
    /// The service account.
    service_account_id: ServiceAccountId,
    /// What it is called.
    #[schema(example = "nightly import")]
    name: String,
    /// The roles it was given.
    role_ids: Vec<RoleId>,
}

/// A service account was removed, and its keys with it.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ServiceAccountDeleted)]
#[event(type = "serviceaccount.deleted", subject = service_account_id)]
pub(crate) struct ServiceAccountDeleted {
    /// The service account.
    service_account_id: ServiceAccountId,
    /// What it was called.
    #[schema(example = "nightly import")]
    name: String,
}

/// The roles of a service account changed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ServiceAccountRoleChanged)]
#[event(type = "serviceaccount.role_changed", subject = service_account_id)]
pub(crate) struct ServiceAccountRoleChanged {
    /// The service account.
    service_account_id: ServiceAccountId,
    /// What it is called.
    #[schema(example = "nightly import")]
    name: String,
    /// The roles it holds now.
    role_ids: Vec<RoleId>,
}

pub(crate) struct Row {
    pub(crate) id: ServiceAccountId,
    pub(crate) name: String,
    pub(crate) role_ids: Vec<Uuid>,
    pub(crate) created_at: Timestamp,
}

/// List the tenant's service accounts, newest first.
#[endpoint]
async fn list_service_accounts(list: List<NoFilter>, mut tx: Tx) -> Result<Page<ServiceAccount>> {
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let rows = sqlx::query_as!(
        Row,
        "select id, name, role_ids, created_at from identity.service_accounts
         where tenant_id = $1 and ($2::uuid is null or id < $2)
         order by id desc limit $3",
        *tenant,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(rows.into_iter().map(Into::into).collect(), |account: &ServiceAccount| *account.id)
}

/// Make a service account. Give it a key with `POST /api-keys`.
#[endpoint("identity.service_account_name_taken", "identity.grants_too_much")]
async fn create_service_account(
    Json(new): Json<NewServiceAccount>,
    mut tx: Tx,
) -> Result<Created<ServiceAccount>> {
    grants::check_given(&mut tx, "/roleIds/{}", &new.role_ids, &[]).await?;
    let (tenant, id, now) = (tx.tenant(), ServiceAccountId::new(), tx.real_now());
    let role_ids: Vec<Uuid> = new.role_ids.iter().map(|id| **id).collect();
    let row = sqlx::query_as!(
        Row,
        "insert into identity.service_accounts (tenant_id, id, name, role_ids, created_at)
         values ($1, $2, $3, $4, $5) returning id, name, role_ids, created_at",
        *tenant,
        *id,
        new.name,
        &role_ids,
        now as _,
    )
    .fetch_one(tx.db())
    .await
    .on_constraint("service_accounts_name_key", || {
        Error::conflict(
            "identity.service_account_name_taken",
            "A service account of this tenant has this name already.",
        )
    })?;
    let created =
        ServiceAccountCreated { service_account_id: id, name: new.name, role_ids: new.role_ids };
    tx.emit(created).await?;
    Ok(Created(row.into()))
}

/// Remove a service account and its keys, which stop working at once.
#[endpoint]
async fn delete_service_account(
    Path(id): Path<Id<directory::ServiceAccount>>,
    mut tx: Tx,
) -> Result<NoContent> {
    let tenant = tx.tenant();
    api_keys::remove_all(&mut tx, Principal::ServiceAccount(id)).await?;
    let name = sqlx::query_scalar!(
        "delete from identity.service_accounts where tenant_id = $1 and id = $2 returning name",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    tx.emit(ServiceAccountDeleted { service_account_id: id, name }).await?;
    let principal = Principal::ServiceAccount(id);
    tx.announce(Change::of("principal", &principal::subject(tenant, principal)));
    Ok(NoContent)
}

impl From<Row> for ServiceAccount {
    fn from(row: Row) -> Self {
        let role_ids = row.role_ids.into_iter().map(RoleId::from_uuid).collect();
        Self { id: row.id, name: row.name, role_ids, created_at: row.created_at }
    }
}

impl From<Row> for ServiceAccountRoleChanged {
    fn from(row: Row) -> Self {
        let ServiceAccount { id, name, role_ids, .. } = row.into();
        Self { service_account_id: id, name, role_ids }
    }
}
