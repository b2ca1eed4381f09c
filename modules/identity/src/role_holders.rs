//! Who holds a role, counted, and `POST /roles/{id}/reassign`: all of them moved to another role.

use std::collections::{HashMap, HashSet};
use std::fmt;

use freehold_kernel::{Change, Error, Json, Path, Result, RoleId, Routes, Tx, UserId, endpoint};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::members::UserRoleChanged;
use crate::service_accounts::{self, ServiceAccountRoleChanged};
use crate::{grants, roles};

/// Holders of each kind that one transaction moves: each is an event of its own.
const MOVED_MAX: i64 = 500;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/roles").post("/{id}/reassign", "roles:write", reassign_role).recent()
}

/// How many hold a role.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    pub(crate) users: i64,
    pub(crate) service_accounts: i64,
}

/// Where the holders of a role go.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::ReassignRole)]
struct ReassignRole {
    /// The role they get instead; it may allow no more than the caller may do.
    #[garde(skip)]
    role_id: RoleId,
}

/// How many were moved.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::Reassigned)]
struct Reassigned {
    /// People who were moved by this request.
    #[schema(example = 3)]
    users: usize,
    /// Service accounts that were moved by this request.
    #[schema(example = 1)]
    service_accounts: usize,
    /// People and service accounts that still hold the role: ask again until none do.
    #[schema(example = 0)]
    remaining: i64,
}

/// Give those who hold this custom role another one instead, up to 500 people and 500 service
/// accounts at a time.
///
/// `remaining` says how many hold it still: send the request again, with another `Idempotency-Key`
/// if with any, until it is 0.
#[endpoint("identity.system_role", "identity.grants_too_much", "identity.outranks_you")]
async fn reassign_role(
    Path(from): Path<RoleId>,
    Json(to): Json<ReassignRole>,
    mut tx: Tx,
) -> Result<Json<Reassigned>> {
    let to = to.role_id;
    if to == from {
        return Err(Error::invalid("/roleId", "identity.same_role", "another role than this one"));
    }
    roles::hold(&mut tx, from).await?;
    grants::check_given(&mut tx, "/roleId", &[to], &[]).await?;
    let users = move_people(&mut tx, from, to).await?;
    let service_accounts = move_programs(&mut tx, from, to).await?;
    let tenant = tx.tenant();
    // One word for all of them: whoever is remembered in this tenant is looked up again.
    tx.announce(Change::of("tenant", &tenant));
    let left = count(&mut tx, from).await?;
    let remaining = left.users + left.service_accounts;
    Ok(Json(Reassigned { users, service_accounts, remaining }))
}

async fn move_people(tx: &mut Tx, from: RoleId, to: RoleId) -> Result<usize> {
    let tenant = tx.tenant();
    let moved = sqlx::query!(
        "delete from core.role_assignments
         where tenant_id = $1 and role_id = $2 and user_id in (
           select distinct user_id from core.role_assignments
           where tenant_id = $1 and role_id = $2 order by user_id limit $3)
         returning user_id, outlet_id",
        *tenant,
        *from,
        MOVED_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    let users: Vec<Uuid> = moved.iter().map(|row| row.user_id).collect();
    let outlets: Vec<Option<Uuid>> = moved.iter().map(|row| row.outlet_id).collect();
    let ids: Vec<Uuid> = moved.iter().map(|_| Uuid::now_v7()).collect();
    // Those who had the other role already keep it as it was.
    let given: HashSet<Uuid> = sqlx::query_scalar!(
        "insert into core.role_assignments (tenant_id, id, user_id, role_id, outlet_id)
         select $1, m.id, m.user_id, $2, m.outlet_id
         from unnest($3::uuid[], $4::uuid[], $5::uuid[]) as m (id, user_id, outlet_id)
         on conflict on constraint role_assignments_once do nothing returning user_id",
        *tenant,
        *to,
        &ids,
        &users,
        &outlets as &[Option<Uuid>],
    )
    .fetch_all(tx.db())
    .await?
    .into_iter()
    .collect();
    let now_held = sqlx::query!(
        r#"select user_id as "user_id: UserId", array_agg(distinct role_id) as "role_ids!"
           from core.role_assignments where tenant_id = $1 and user_id = any ($2)
           group by user_id"#,
        *tenant,
        &users,
    )
    .fetch_all(tx.db())
    .await?;
    let moved = now_held.len();
    for row in now_held {
        let is_new = given.contains(&row.user_id);
        tx.emit(UserRoleChanged {
            user_id: row.user_id,
            role_ids: row.role_ids.into_iter().map(RoleId::from_uuid).collect(),
            added: is_new.then_some(to).into_iter().collect(),
            removed: vec![from],
        })
        .await?;
    }
    Ok(moved)
}

async fn move_programs(tx: &mut Tx, from: RoleId, to: RoleId) -> Result<usize> {
    let tenant = tx.tenant();
    let moved = sqlx::query_as!(
        service_accounts::Row,
        "update identity.service_accounts
         set role_ids = array_remove(array_remove(role_ids, $3), $2) || $2::uuid
         where tenant_id = $1 and id in (
           select id from identity.service_accounts
           where tenant_id = $1 and $3 = any (role_ids) order by id limit $4)
         returning id, name, role_ids, created_at",
        *tenant,
        *to,
        *from,
        MOVED_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    let count = moved.len();
    for row in moved {
        tx.emit(ServiceAccountRoleChanged::from(row)).await?;
    }
    Ok(count)
}

/// By how many one role is held.
pub(crate) async fn count(tx: &mut Tx, role: RoleId) -> Result<Holders> {
    Ok(counted(tx, Some(role)).await?.remove(&role).unwrap_or_default())
}

/// By how many each role is held; roles that nobody holds are not there.
pub(crate) async fn count_all(tx: &mut Tx) -> Result<HashMap<RoleId, Holders>> {
    counted(tx, None).await
}

async fn counted(tx: &mut Tx, only: Option<RoleId>) -> Result<HashMap<RoleId, Holders>> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select role_id as "role!: RoleId", count(distinct user_id) as "users!",
             count(distinct service_account) as "service_accounts!"
           from (
             select a.role_id, a.user_id, null::uuid as service_account
             from core.role_assignments a where a.tenant_id = $1
             union all
             select unnest(s.role_ids), null, s.id
             from identity.service_accounts s where s.tenant_id = $1
           ) as holders
           where $2::uuid is null or role_id = $2 group by role_id"#,
        *tenant,
        only.map(|role| *role),
    )
    .fetch_all(tx.db())
    .await?;
    let held = rows.into_iter().map(|row| {
        (row.role, Holders { users: row.users, service_accounts: row.service_accounts })
    });
    Ok(held.collect())
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |n: i64, one: &'static str, many: &'static str| match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        };
        let people = of(self.users, "person", "people");
        let programs = of(self.service_accounts, "service account", "service accounts");
        let both: Vec<String> = [people, programs].into_iter().flatten().collect();
        f.write_str(&both.join(" and "))
    }
}
