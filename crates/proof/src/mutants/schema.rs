//! A weakened schema: each mutant in a copy of its own, made from PostgreSQL's catalogue, so that
//! every table has its mutants. Noticed by the check at every start, by the grants that reviewers
//! see in the snapshot, or by the sweep of all tables.

use std::sync::Arc;

use freehold_kernel::{App, Config, Module, TenantId, survey};
use sqlx::{AssertSqlSafe, Executor, PgPool, Row};
use uuid::Uuid;

use super::copies::{Copy, Original, as_role};
use crate::{Error, Result, Subject, tables};

/// One change of the schema that isolation must not survive unnoticed.
#[derive(Clone, Debug)]
pub struct SchemaMutant {
    /// What kind of change; each kind is worth trying by itself.
    pub kind: &'static str,
    /// The table or function that is changed.
    pub subject: String,
    sql: String,
}

/// One way to log in that row-level security would not hold.
#[derive(Clone, Debug)]
pub struct LoginMutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// The attributes of the role; a superuser is there already.
    attributes: Option<&'static str>,
    is_system: bool,
}

/// Each kind of change, which things it is made to, and how; `{}` stands for the thing. The columns
/// `loose` and `rest` are one column and the columns of the key without the tenant.
const KINDS: &[(&str, &str, &str)] = &[
    ("has no policy", TENANT, "drop policy tenant on {}"),
    ("lets everybody read", TENANT, "alter policy tenant on {} using (true)"),
    ("lets everybody write", TENANT, "alter policy tenant on {} with check (true)"),
    ("lets everybody do everything", TENANT, "alter policy tenant on {} using (true) with check (true)"),
    ("lets those in who have no tenant", TENANT,
     "alter policy tenant on {} using (coalesce(tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid, true))"),
    ("has a generous policy beside its own", TENANT, "create policy mutant on {} for select to public using (true)"),
    ("shows customers each other's rows", OF_CUSTOMERS, "drop policy customer on {}"),
    ("lets customers read each other's rows", OF_CUSTOMERS, "alter policy customer on {} using (true)"),
    ("lets customers write each other's rows", OF_CUSTOMERS, "alter policy customer on {} with check (true)"),
    ("does not force its policy on the owner", TENANT, "alter table {} no force row level security"),
    ("has its policy switched off", TENANT, "alter table {} disable row level security"),
    ("belongs to the application", TENANT, "alter table {} owner to freehold_app"),
    ("may be emptied by the application", TENANT, "grant truncate on {} to freehold_app"),
    ("may be pointed at by the application", TENANT, "grant references on {} to freehold_app"),
    ("has a class that has no rules", TENANT, "comment on table {} is 'infrastructure: nothing to see'"),
    ("has no class", TENANT, "comment on table {} is null"),
    ("has an index that does not begin with the tenant", TENANT, "create index mutant on {} ({loose})"),
    // Emptied, because two tenants that have lived alike may have the same keys.
    ("has a unique key without the tenant", KEYED,
     "set session_replication_role = replica; delete from {}; reset session_replication_role;
      create unique index mutant on {} ({rest})"),
    ("has a trigger", TENANT,
     "create function core.mutant() returns trigger language plpgsql as 'begin return new; end';
      create trigger mutant after insert on {} for each row execute function core.mutant()"),
    ("is shown to all by a view", TENANT,
     "create view core.mutant as select * from {}; alter view core.mutant owner to freehold_owner;
      grant select on core.mutant to freehold_app"),
    ("is open to sign-in", WITHOUT_ACCOUNT,
     "create policy mutant on {} to freehold_account using (true); grant select on {} to freehold_account"),
    ("is open to operators", WITHOUT_PLATFORM,
     "create policy mutant on {} to freehold_platform using (true); grant select on {} to freehold_platform"),
    ("may be changed by the application although it is append-only", APPEND_ONLY, "grant update on {} to freehold_app"),
    ("is a partition that the application may read", PARTITION, "grant select on {} to freehold_app"),
    ("spans tenants and may be read by the application", SPANNING, "grant select on {} to freehold_app"),
    ("spans tenants and may be written by the application", SPANNING, "grant insert, update, delete on {} to freehold_app"),
    ("spans tenants and shows the application one column", SPANNING, "grant select ({loose}) on {} to freehold_app"),
    ("runs with its owner's rights and may be called by the application", DEFINER, "grant execute on function {} to freehold_app"),
    ("runs with its owner's rights and may be called by everybody", DEFINER, "grant execute on function {} to public"),
    ("runs with its owner's rights on whatever path", ANY_DEFINER, "alter function {} reset search_path"),
    ("points at another table without the tenant", FOREIGN_KEY,
     "alter table {} drop constraint {name}; create unique index mutant on {target} ({there});
      alter table {} add constraint {name} foreign key ({here}) references {target} ({there})"),
    ("is new and has no rules", ANYTHING,
     "create table core.mutant (tenant_id uuid, id uuid); alter table core.mutant owner to freehold_owner;
      grant select on core.mutant to freehold_app"),
    ("is a new function that reads for everybody", ANYTHING,
     "create function core.mutant() returns setof core.users language sql security definer
        set search_path = pg_catalog as 'select * from core.users';
      alter function core.mutant() owner to freehold_owner"),
];

// What a kind of change is made to: the thing, and what its statement needs to know of it.
const TENANT: &str = "select name, loose from tables where class in ('tenant', 'claims')";
const OF_CUSTOMERS: &str = "
  select t.name, t.loose from tables t join pg_policy p on p.polrelid = t.oid and p.polname = 'customer'";
const KEYED: &str = "select name, loose, rest from tables where class = 'tenant' and rest <> ''";
const SPANNING: &str = "
  select name, loose from tables where class in ('global', 'infrastructure')
    and not has_any_column_privilege('freehold_app', oid, 'select')";
const WITHOUT_ACCOUNT: &str = "
  select name, loose from tables where class = 'tenant' and not has_table_privilege('freehold_account', oid, 'select')";
const WITHOUT_PLATFORM: &str = "
  select name, loose from tables where class = 'tenant' and not has_table_privilege('freehold_platform', oid, 'select')";
const APPEND_ONLY: &str = "select name, loose from tables where name = 'core.events'";
const PARTITION: &str = "
  select c.oid::regclass::text, '' as loose from pg_class c join tables t on c.oid in (select inhrelid from pg_inherits where inhparent = t.oid)
  where c.relkind = 'r'";
const ANY_DEFINER: &str = "
  select p.oid::regprocedure::text as name, '' as loose from pg_proc p
  where p.prosecdef and pg_get_userbyid(p.proowner) = 'freehold_owner'";
const DEFINER: &str = "
  select p.oid::regprocedure::text as name, '' as loose from pg_proc p
  where p.prosecdef and pg_get_userbyid(p.proowner) = 'freehold_owner'
    and not has_function_privilege('freehold_app', p.oid, 'execute')";
const FOREIGN_KEY: &str = "
  select t.name, '' as loose, '' as rest, quote_ident(k.conname), k.confrelid::regclass::text,
    (select string_agg(quote_ident(a.attname), ', ' order by n.place) from unnest(k.conkey) with ordinality n (attnum, place)
     join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.attnum where a.attname <> 'tenant_id'),
    (select string_agg(quote_ident(a.attname), ', ' order by n.place) from unnest(k.confkey) with ordinality n (attnum, place)
     join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.attnum where a.attname <> 'tenant_id')
  from pg_constraint k join tables t on t.oid = k.conrelid
  where k.contype = 'f' and k.conparentid = 0 and array_length(k.conkey, 1) > 1
    and k.confrelid in (select oid from tables where class = 'tenant')";
const ANYTHING: &str = "select 'core.mutant' as name, '' as loose";

/// Our tables, with one column beside the tenant's and the key without it.
const TABLES: &str = "
with tables as (
  select c.oid, c.oid::regclass::text as name,
    split_part(obj_description(c.oid, 'pg_class'), ':', 1) as class,
    (select quote_ident(a.attname) from pg_attribute a
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> 'tenant_id'
     order by a.attnum limit 1) as loose,
    coalesce((select string_agg(quote_ident(a.attname), ', ' order by k.place) from pg_index i
      cross join lateral unnest(i.indkey) with ordinality as k (attnum, place)
      join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
      where i.indrelid = c.oid and i.indisprimary and a.attname <> 'tenant_id'), '') as rest
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition and c.relname <> '_migrations'
    and pg_get_userbyid(n.nspowner) = 'freehold_owner'
)";

/// What the statement of a kind may name, in the order of the columns.
const PLACES: [&str; 7] = ["{}", "{loose}", "{rest}", "{name}", "{target}", "{here}", "{there}"];

/// Every kind of change to everything that it can be made to.
///
/// # Errors
/// When the catalogue cannot be read.
pub async fn schema_mutants(superuser: &PgPool) -> Result<Vec<SchemaMutant>> {
    let mut mutants = Vec::new();
    for (kind, things, change) in KINDS {
        let query = AssertSqlSafe(format!("{TABLES} {things}"));
        for row in sqlx::query(query).fetch_all(superuser).await? {
            let mut sql = (*change).to_owned();
            for (column, place) in PLACES.iter().enumerate().take(row.len()) {
                let text: Option<String> = row.try_get(column)?;
                sql = sql.replace(place, &text.unwrap_or_default());
            }
            mutants.push(SchemaMutant { kind, subject: row.try_get(0)?, sql });
        }
    }
    Ok(mutants)
}

/// What may notice a mutant of the schema.
pub struct Guards<'a> {
    original: &'a Original,
    modules: &'a (dyn Fn() -> Vec<Module> + Sync),
    /// Two tenants that have lived.
    tenants: (TenantId, TenantId),
    /// The grants as they should be.
    grants: String,
}

impl<'a> Guards<'a> {
    /// Over a database that is as it should be: no guard has anything to say about a copy of it.
    ///
    /// # Errors
    /// When one has, or cannot be asked.
    pub async fn over(
        original: &'a Original,
        modules: &'a (dyn Fn() -> Vec<Module> + Sync),
        tenants: (TenantId, TenantId),
    ) -> Result<Self> {
        let mut guards = Self { original, modules, tenants, grants: String::new() };
        let copy = original.copy().await?;
        let app = App::start(copy.config.clone(), modules()).await;
        let app = app.map_err(|error| Error::Missing(format!("without a mutant: {error}")))?;
        guards.grants = tables::grants(&subject(&copy, app.clone())).await?;
        app.stop().await;
        let noticed = guards.ask(&copy).await?;
        copy.remove().await?;
        match noticed {
            Some(guard) => {
                Err(Error::Missing(format!("without a mutant there is a finding: {guard}")))
            }
            None => Ok(guards),
        }
    }

    /// Makes the mutant in a copy, and answers which guard has noticed it and with what words.
    ///
    /// # Errors
    /// When the mutant cannot be made or a guard cannot be asked.
    pub async fn notice(&self, mutant: &SchemaMutant) -> Result<Option<String>> {
        let copy = self.original.copy().await?;
        let made = copy.superuser.execute(AssertSqlSafe(mutant.sql.clone())).await;
        made.map_err(|error| Error::Statement { error, sql: mutant.sql.clone() })?;
        let noticed = self.ask(&copy).await;
        copy.remove().await?;
        noticed
    }

    /// The check at every start; then the grants; then the sweep, which takes longest.
    async fn ask(&self, copy: &Copy) -> Result<Option<String>> {
        if let Some(finding) = self.start_refuses(&copy.config).await? {
            return Ok(Some(format!("every start: {finding}")));
        }
        let app = match App::start(copy.config.clone(), (self.modules)()).await {
            Ok(app) => app,
            Err(error) => return Ok(Some(format!("every start: {error}"))),
        };
        let subject = subject(copy, app.clone());
        let granted = tables::grants(&subject).await?;
        let noticed = if granted == self.grants {
            let (a, b) = self.tenants;
            let swept = tables::sweep(&subject, a, b).await?;
            swept.findings.into_iter().next().map(|finding| format!("the sweep: {finding}"))
        } else {
            Some("the snapshot of all grants".to_owned())
        };
        app.stop().await;
        Ok(noticed)
    }

    async fn start_refuses(&self, config: &Config) -> Result<Option<String>> {
        match survey(config, &(self.modules)()).await.found {
            Some(found) => {
                let found = found?;
                let all = found.logins.into_iter().chain(found.tables);
                Ok(all.map(|finding| finding.to_string()).next())
            }
            None => Err(Error::Missing("the copy of the database does not answer".to_owned())),
        }
    }

    /// Makes a role that row-level security would not hold, and answers what every start says of a
    /// configuration that logs in as it. The role is removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn notice_login(&self, mutant: &LoginMutant) -> Result<Option<String>> {
        let copy = self.original.copy().await?;
        let id = Uuid::now_v7().simple().to_string();
        let (login, mut config) = (format!("freehold_mutant_{}", &id[20..]), copy.config.clone());
        let name = mutant.attributes.map_or("postgres", |_| login.as_str());
        let url = match mutant.is_system {
            true => &mut config.database_system_url,
            false => &mut config.database_url,
        };
        *url = as_role(url, name)?;
        if let Some(attributes) = mutant.attributes {
            let made = format!("create role {login} {attributes}");
            copy.superuser.execute(AssertSqlSafe(made)).await?;
        }
        let noticed = self.start_refuses(&config).await;
        let gone = format!("drop role if exists {login}");
        copy.superuser.execute(AssertSqlSafe(gone)).await?;
        copy.remove().await?;
        noticed
    }
}

/// Every login that must be refused.
#[must_use]
pub fn login_mutants() -> Vec<LoginMutant> {
    let login = |name, attributes| LoginMutant { name, attributes, is_system: false };
    let system = |name, attributes| LoginMutant { name, attributes, is_system: true };
    vec![
        login("requests are served by a superuser", None),
        login(
            "requests are served by a role with BYPASSRLS",
            Some("bypassrls in role freehold_app"),
        ),
        login(
            "requests are served by a member of freehold_owner",
            Some("in role freehold_app, freehold_owner"),
        ),
        login(
            "requests are served by a member of freehold_dispatch",
            Some("in role freehold_app, freehold_dispatch"),
        ),
        login(
            "requests are served by a member of freehold_account",
            Some("in role freehold_app, freehold_account"),
        ),
        login(
            "requests are served by a member of freehold_platform",
            Some("in role freehold_app, freehold_platform"),
        ),
        system("the kernel's own work is done by a superuser", None),
        system(
            "the kernel's own work is done by a role with BYPASSRLS",
            Some(
                "noinherit bypassrls in role freehold_account, freehold_dispatch, freehold_platform",
            ),
        ),
    ]
}

/// The copy as sweeps know it; nobody listens.
fn subject(copy: &Copy, app: Arc<App>) -> Subject {
    Subject { app, superuser: copy.superuser.clone(), base: String::new() }
}
