-- What operators ask about an installation.

-- The number of the last migration of a schema that has run; null where none has, or the last one
-- failed. With the owner's rights, for the tables that say so are nobody else's business.
create function core.schema_version(schema text) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  version bigint;
begin
  if to_regclass(format('%I._migrations', schema)) is null then
    return null;
  end if;
  execute format('select max(version) from %I._migrations where success', schema) into version;
  return version;
end
$$;
revoke execute on function core.schema_version(text) from public;
grant execute on function core.schema_version(text) to freehold_dispatch;

-- Which trace an event or a job belongs to, where somebody collects traces and wants that one.
create table core.traces (
  id     uuid primary key, -- of an event or a job
  parent text not null, -- a W3C traceparent
  at     timestamptz not null default clock_timestamp()
);
comment on table core.traces is 'infrastructure: which trace an event or a job belongs to';
create index traces_by_time on core.traces (at);
grant insert on core.traces to freehold_app, freehold_account, freehold_platform;
grant select, insert, delete on core.traces to freehold_dispatch;
