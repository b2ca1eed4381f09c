//! Reads PostgreSQL's catalogue at every start and refuses a schema on which isolation would not
//! hold. One set of rules per class of table; there is no list of exceptions.

use sqlx::{PgPool, Row};

/// One thing that is wrong, in a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub String);

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Each rule is a query that returns what breaks it: a subject, which `{}` in the sentence stands
/// for; the sentence says what is wrong, then what to do. `tenant_tables` and `our_tables` are defined in [`PRELUDE`].
const RULES: &[(&str, &str)] = &[
    (
        "{} has no class; say `comment on table {} is 'tenant: …'` (or global, claims, reference, infrastructure), and for a tenant's rows core.tenant_table('{}')",
        "select name from our_tables where class is null",
    ),
    (
        "{} has a tenant_id and freehold_app may read it; say `tenant: …` in its comment and call core.tenant_table('{}'), or revoke what freehold_app may",
        "select t.name from our_tables t
         join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id' and not a.attisdropped
         where t.class not in ('tenant', 'claims') and not t.relispartition
           and has_table_privilege('freehold_app', t.oid, 'select')",
    ),
    (
        "{} is a tenant table without `tenant_id uuid not null`; add it, first in the table and in its primary key",
        "select t.name from tenant_tables t where not exists (
           select from pg_attribute a where a.attrelid = t.oid and a.attname = 'tenant_id'
             and a.attnotnull and a.atttypid = 'uuid'::regtype)",
    ),
    (
        "row-level security is not enabled and forced on {}; call core.tenant_table('{}')",
        "select name from tenant_tables where not (relrowsecurity and relforcerowsecurity)",
    ),
    (
        "{}: freehold_app must have exactly the canonical policy; call core.tenant_table('{}') and write no policy by hand, but for the one, as on webhooks.endpoints, that a column `customer` needs",
        "select t.name from tenant_tables t
         left join pg_attribute a on a.attrelid = t.oid and a.attname = 'customer' and not a.attisdropped
         where (select array_agg(p.polname::text || ' ' || p.polcmd::text || ' ' || p.polpermissive::text || ' '
                  || coalesce(pg_get_expr(p.polqual, p.polrelid), '') || ' | '
                  || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') order by p.polname desc)
                from pg_policy p
                where p.polrelid = t.oid
                  and (p.polroles @> array['freehold_app'::regrole::oid] or p.polroles @> array[0::oid]))
           is distinct from array['tenant * true '
             || '(tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::uuid) | '
             || '(tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::uuid)']
             || case when a.attname is null then '{}' else array['customer * false '
               || '((COALESCE(current_setting(''app.customer''::text, true), ''''::text) = ''''::text) OR (COALESCE(current_setting(''app.customer''::text, true), ''''::text) = customer)) | '
               || '((COALESCE(current_setting(''app.customer''::text, true), ''''::text) = ''''::text) OR (COALESCE(current_setting(''app.customer''::text, true), ''''::text) = customer))'] end order by 1",
    ),
    (
        "{}: every key and index of a tenant table begins with tenant_id (claims: only their primary key may not); put it first, and keep what is unique in the whole installation in core.claims",
        "select t.name || ' index ' || i.indexrelid::regclass from tenant_tables t
         join pg_index i on i.indrelid = t.oid
         left join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0]
         where a.attname is distinct from 'tenant_id' and not (t.class = 'claims' and i.indisprimary)",
    ),
    (
        "{}: a foreign key of a tenant table carries tenant_id on both sides, or points to a global or reference table; write foreign key (tenant_id, …) references … (tenant_id, …)",
        "select t.name || ' ' || c.conname from tenant_tables t
         join pg_constraint c on c.conrelid = t.oid and c.contype = 'f' and c.conparentid = 0
         join tenant_tables f on f.oid = c.confrelid
         left join pg_attribute here on here.attrelid = c.conrelid and here.attnum = c.conkey[1]
         left join pg_attribute there on there.attrelid = c.confrelid and there.attnum = c.confkey[1]
         where here.attname <> 'tenant_id' or there.attname <> 'tenant_id'",
    ),
    (
        "{}: under row-level security an index on this type is not used (its operators are not leakproof); store text, bigint, uuid, bytea or timestamptz",
        "select t.name || '.' || a.attname from tenant_tables t
         join pg_index i on i.indrelid = t.oid
         cross join lateral unnest(i.indkey) as k (attnum)
         join pg_attribute a on a.attrelid = t.oid and a.attnum = k.attnum
         where a.atttypid not in ('text'::regtype, 'uuid'::regtype, 'bytea'::regtype, 'timestamptz'::regtype,
           'date'::regtype, 'bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
         union all
         select t.name || ' index ' || i.indexrelid::regclass || ' on an expression' from tenant_tables t
         join pg_index i on i.indrelid = t.oid where i.indexprs is not null",
    ),
    (
        "{} is a trigger on a tenant table, which sharding refuses; do it in the statement that writes, or in a subscriber to its event",
        "select t.name || ' ' || g.tgname from tenant_tables t
         join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal",
    ),
    (
        "freehold_app may {}; revoke it: it has select, insert, update, delete and nothing else",
        "select p.verb || ' ' || t.name from our_tables t
         cross join (values ('truncate'), ('references'), ('trigger')) as p (verb)
         where has_table_privilege('freehold_app', t.oid, p.verb)",
    ),
    (
        "freehold_app may change core.events ({}); revoke it: it may insert and select only",
        "select p.verb from (values ('update'), ('delete')) as p (verb)
         where has_table_privilege('freehold_app', 'core.events', p.verb)",
    ),
    (
        "freehold_app may write {}; revoke it, or make it a tenant table: global and reference tables are not its to write",
        "select t.name from our_tables t
         where t.class in ('global', 'reference')
           and has_table_privilege('freehold_app', t.oid, 'insert, update, delete')",
    ),
    (
        "a role of ours has rights on {}, a partition; revoke them and read through the parent, whose policy they would bypass",
        "select t.name from our_tables t
         cross join (values ('freehold_app'), ('freehold_account'), ('freehold_dispatch'), ('freehold_platform')) as r (name)
         where t.relispartition and has_table_privilege(r.name, t.oid, 'select, insert, update, delete')",
    ),
    (
        "view {} shows every tenant; create it with (security_invoker = true)",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('v', 'm') and pg_get_userbyid(c.relowner) = 'freehold_owner'
           and not coalesce(c.reloptions @> array['security_invoker=true'], false)",
    ),
    (
        "function {} runs with its owner's rights and must fix its search_path; add `set search_path = …` to it",
        "select p.oid::regprocedure::text from pg_proc p
         where pg_get_userbyid(p.proowner) = 'freehold_owner' and p.prosecdef
           and not coalesce(array_to_string(p.proconfig, ',') like 'search_path=%', false)",
    ),
    (
        "function {} runs with its owner's rights and freehold_app may call it; revoke that, or say in its comment why it reaches no other tenant: `comment on function {} is 'freehold_app: …'`",
        "select p.oid::regprocedure::text from pg_proc p
         where pg_get_userbyid(p.proowner) = 'freehold_owner' and p.prosecdef
           and has_function_privilege('freehold_app', p.oid, 'execute')
           and coalesce(obj_description(p.oid, 'pg_proc') !~ '^freehold_app: ', true)",
    ),
    (
        "{} is not owned by freehold_owner, and whoever owns a table can switch its security off; say `alter table {} owner to freehold_owner`",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_namespace core on core.nspname = 'core'
         where c.relkind in ('r', 'p') and n.nspowner = core.nspowner and c.relowner <> core.nspowner",
    ),
];

/// Our tables, their class read from their comment; partitions have their parent's security.
const PRELUDE: &str = "
with our_tables as (
  select c.oid, n.nspname || '.' || c.relname as name, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
    substring(obj_description(c.oid, 'pg_class') from '^(tenant|global|claims|reference|infrastructure): ') as class
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and pg_get_userbyid(n.nspowner) = 'freehold_owner' and c.relname <> '_migrations'
),
tenant_tables as (select * from our_tables where class in ('tenant', 'claims') and not relispartition)
";

/// Everything that is wrong with the schema. Each rule is one simple query, which a pooler keeps
/// together.
pub(super) async fn inspect(pool: &PgPool) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    for (sentence, query) in RULES {
        let sql = sqlx::AssertSqlSafe(format!("{PRELUDE} {query}"));
        for found in sqlx::raw_sql(sql).fetch_all(pool).await? {
            let subject: String = found.try_get(0)?;
            findings.push(Finding(sentence.replace("{}", &subject)));
        }
    }
    Ok(findings)
}
