//! `GET /users`, `GET` and `PATCH /users/{id}`: the people of a tenant and the roles they hold.

use freehold_kernel::{
    Change, Event, Json, List, Page, Path, Principal, Result, RoleId, Routes, SystemRole,
    Timestamp, Tx, UserId, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{grants, owners, principal};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/users")
        .get("/", "users:read", list_users)
        .get("/{id}", "users:read", get_user)
        .patch("/{id}", "users:write", update_user)
        .recent_when("a role that is given or taken allows `users:transfer`, as Owner does")
}

/// A person, as this tenant knows them.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::User)]
pub(crate) struct Member {
    /// The person.
    pub(crate) id: UserId,
    /// Their address.
    #[schema(example = "ada@example.org")]
    pub(crate) email: String,
    /// What they are called.
    #[schema(example = "Ada Lovelace")]
    pub(crate) name: String,
    /// The roles they hold here.
    pub(crate) role_ids: Vec<RoleId>,
    /// When they became a member.
    pub(crate) created_at: Timestamp,
}

/// Which people.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::UserFilter)]
struct UserFilter {
    /// Only those who hold this role.
    role_id: Option<RoleId>,
}

/// What may be changed about a member; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::UpdateUser)]
struct UpdateUser {
    /// All the roles they are to hold; new ones may allow no more than the caller may do.
    #[garde(inner(length(min = 1, max = 20)))]
    #[schema(min_items = 1, max_items = 20)]
    role_ids: Option<Vec<RoleId>>,
}

/// The roles of a person changed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserRoleChanged)]
#[event(type = "user.role_changed", subject = user_id)]
pub(crate) struct UserRoleChanged {
    /// The person.
    pub(crate) user_id: UserId,
    /// The roles they hold now.
    pub(crate) role_ids: Vec<RoleId>,
    /// The roles they did not hold before.
    pub(crate) added: Vec<RoleId>,
    /// The roles they hold no more.
    pub(crate) removed: Vec<RoleId>,
}

pub(crate) struct Row {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role_ids: Vec<Uuid>,
    pub(crate) created_at: Timestamp,
}

/// List the people of the tenant, newest first.
#[endpoint]
async fn list_users(list: List<UserFilter>, mut tx: Tx) -> Result<Page<Member>> {
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let rows = sqlx::query_as!(
        Row,
        r#"select m.user_id as "id: UserId", m.email, m.name, m.created_at, array(
             select a.role_id from core.role_assignments a
             where a.tenant_id = $1 and a.user_id = m.user_id and a.outlet_id is null
             order by a.role_id
           ) as "role_ids!"
           from core.memberships m
           where m.tenant_id = $1 and m.status = 'active'
             and ($2::uuid is null or m.user_id < $2)
             and ($3::uuid is null or exists (
               select from core.role_assignments h
               where h.tenant_id = $1 and h.user_id = m.user_id and h.role_id = $3
             ))
           order by m.user_id desc limit $4"#,
        *tenant,
        after,
        list.filter.role_id.map(|role| *role),
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(rows.into_iter().map(Into::into).collect(), |member: &Member| *member.id)
}

/// See a person of the tenant.
#[endpoint]
async fn get_user(Path(id): Path<UserId>, mut tx: Tx) -> Result<Json<Member>> {
    Ok(Json(find(&mut tx, id).await?))
}

/// Change the roles of a person; what they may do changes at once, also for tokens and keys in use.
///
/// Nobody gives a role that allows more than they may do themselves, nor takes one away. A tenant
/// always keeps an owner.
#[endpoint("identity.grants_too_much", "identity.outranks_you", "identity.last_owner")]
async fn update_user(
    Path(id): Path<UserId>,
    Json(patch): Json<UpdateUser>,
    mut tx: Tx,
) -> Result<Json<Member>> {
    owners::hold(&mut tx, id).await?;
    let before = find(&mut tx, id).await?;
    let Some(wanted) = patch.role_ids else { return Ok(Json(before)) };
    grants::check_given(&mut tx, "/roleIds/{}", &wanted, &before.role_ids).await?;
    let added = only_in(&wanted, &before.role_ids);
    let removed = only_in(&before.role_ids, &wanted);
    if added.is_empty() && removed.is_empty() {
        return Ok(Json(before));
    }
    grants::check_taken(&mut tx, &removed).await?;
    take(&mut tx, id, &removed).await?;
    give(&mut tx, id, &added).await?;
    if removed.contains(&SystemRole::Owner.id()) {
        owners::check_one_stays(&mut tx).await?;
    }
    let after = find(&mut tx, id).await?;
    let event = UserRoleChanged { user_id: id, role_ids: after.role_ids.clone(), added, removed };
    tx.emit_change(event, &before, &after).await?;
    let subject = principal::subject(tx.tenant(), Principal::User(id));
    tx.announce(Change::of("principal", &subject));
    Ok(Json(after))
}

/// A member as they are now.
///
/// # Errors
/// 404 for whoever is no member.
pub(crate) async fn find(tx: &mut Tx, id: UserId) -> Result<Member> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select m.user_id as "id: UserId", m.email, m.name, m.created_at, array(
             select a.role_id from core.role_assignments a
             where a.tenant_id = $1 and a.user_id = $2 and a.outlet_id is null
             order by a.role_id
           ) as "role_ids!"
           from core.memberships m
           where m.tenant_id = $1 and m.user_id = $2 and m.status = 'active'"#,
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(row.into())
}

async fn take(tx: &mut Tx, user: UserId, roles: &[RoleId]) -> Result<()> {
    let (tenant, ids) = (tx.tenant(), uuids(roles));
    sqlx::query!(
        "delete from core.role_assignments
         where tenant_id = $1 and user_id = $2 and role_id = any ($3) and outlet_id is null",
        *tenant,
        *user,
        &ids,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

async fn give(tx: &mut Tx, user: UserId, roles: &[RoleId]) -> Result<()> {
    let (tenant, role_ids) = (tx.tenant(), uuids(roles));
    let ids: Vec<Uuid> = roles.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "insert into core.role_assignments (tenant_id, id, user_id, role_id)
         select $1, r.id, $2, r.role_id from unnest($3::uuid[], $4::uuid[]) as r (id, role_id)
         on conflict on constraint role_assignments_once do nothing",
        *tenant,
        *user,
        &ids,
        &role_ids,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

fn uuids(ids: &[RoleId]) -> Vec<Uuid> {
    ids.iter().map(|id| **id).collect()
}

/// The roles of one list that the other lacks, each once.
fn only_in(these: &[RoleId], those: &[RoleId]) -> Vec<RoleId> {
    let mut only: Vec<RoleId> = these.iter().filter(|id| !those.contains(id)).copied().collect();
    only.sort_by_key(|id| **id);
    only.dedup();
    only
}

impl From<Row> for Member {
    fn from(row: Row) -> Self {
        let Row { id, email, name, role_ids, created_at } = row;
        let role_ids = role_ids.into_iter().map(RoleId::from_uuid).collect();
        Self { id, email, name, role_ids, created_at }
    }
}
