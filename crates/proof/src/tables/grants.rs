//! Who may do what with which table, as PostgreSQL has it, for a snapshot that people review.

use std::fmt::Write;

use crate::{Result, Subject};

/// Each table, its class, and the verbs of each role; verbs that a role has on some columns only
/// name them.
const GRANTS: &str = "
with tables as (
  select c.oid, c.oid::regclass::text as name,
    split_part(obj_description(c.oid, 'pg_class'), ':', 1) as class
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition and c.relname <> '_migrations'
    and pg_get_userbyid(n.nspowner) = 'freehold_owner'
)
select t.name, coalesce(t.class, ''), array(
  select coalesce((
    select string_agg(
      case when has_table_privilege(r.name, t.oid, v.verb) then v.verb
      else v.verb || ' (' || (
        select string_agg(a.attname, ', ' order by a.attnum) from pg_attribute a
        where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
          and has_column_privilege(r.name, t.oid, a.attnum, v.verb)
      ) || ')' end, ', ' order by v.place)
    from (values (1, 'select'), (2, 'insert'), (3, 'update'), (4, 'delete'), (5, 'truncate'), (6, 'references'),
      (7, 'trigger')) as v (place, verb)
    where has_table_privilege(r.name, t.oid, v.verb)
      or (v.place in (1, 2, 3, 6) and has_any_column_privilege(r.name, t.oid, v.verb))
  ), '')
  from (values (1, 'freehold_app'), (2, 'freehold_account'), (3, 'freehold_dispatch'), (4, 'freehold_platform'),
    (5, 'freehold_system')) as r (place, name)
  order by r.place
)
from tables t order by t.name collate \"C\"";

/// Each database role × table × verb, as a Markdown table.
///
/// # Errors
/// When the database does not answer.
pub async fn grants(subject: &Subject) -> Result<String> {
    let rows: Vec<(String, String, Vec<String>)> =
        sqlx::query_as(GRANTS).fetch_all(&subject.superuser).await?;
    let mut text = String::from(
        "| table | class | app | account | dispatch | platform | system |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (table, class, roles) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {table} | {class} | {} |", roles.join(" | "));
    }
    Ok(text)
}
