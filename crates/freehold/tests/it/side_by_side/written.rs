//! Every row that anybody writes, kept aside by triggers of the superuser's: outbox and jobs are
//! emptied faster than a test could look.

use sqlx::{FromRow, PgPool};

/// A row as it was written, changed or removed.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    /// Its table.
    pub(super) table: String,
    /// Whose it is, if it says so.
    pub(super) tenant: Option<String>,
    /// All of it, as JSON.
    pub(super) text: String,
}

impl Row {
    /// Whether the word stands in it, as text or as bytes.
    pub(super) fn holds(&self, word: &str) -> bool {
        let bytes: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.text.contains(word) || self.text.contains(&bytes)
    }
}

const WATCH: &str = r"
create table public.written (row_table text not null, row jsonb not null);
create function public.note() returns trigger language plpgsql security definer as $$
begin
  insert into public.written values (tg_argv[0], to_jsonb(coalesce(new, old)));
  return null;
end $$;
do $$
declare
  each record;
begin
  for each in
    select c.oid::regclass as name, format('%s.%s', n.nspname, c.relname) as word
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition
      and pg_get_userbyid(n.nspowner) = 'freehold_owner'
  loop
    execute format('create trigger side_by_side after insert or update or delete on %s
      for each row execute function public.note(%L)', each.name, each.word);
  end loop;
end $$";

/// From now on rows are kept.
pub(super) async fn watch(superuser: &PgPool) {
    sqlx::raw_sql(WATCH).execute(superuser).await.unwrap();
}

/// Everything that has been kept.
pub(super) async fn read(superuser: &PgPool) -> Vec<Row> {
    let rows = sqlx::query_as(
        r#"select row_table as "table", row ->> 'tenant_id' as tenant, row::text as text
           from public.written"#,
    );
    rows.fetch_all(superuser).await.unwrap()
}
