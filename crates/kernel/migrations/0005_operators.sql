-- What operators do with tenants: make, change, suspend, close and reopen them, in transactions of
-- freehold_platform; and what is left of a tenant a month after it was closed: nothing.

-- ------------------------------------------------------------------ what operators may

alter table core.tenants
  add column closed_at timestamptz,
  add constraint tenants_closed_since check ((status = 'inactive') = (closed_at is not null));

-- Standing and kind are not the tenant's own to change, whatever its transactions may say.
revoke update on core.tenants from freehold_app;
grant update (slug, name, time_zone, locale, currency, version) on core.tenants to freehold_app;
grant update (slug, name, time_zone, locale, currency, version, status, closed_at) on core.tenants to freehold_platform;

-- An operator's act is an event of the tenant concerned, as anybody's is.
create policy platform on core.events to freehold_platform using (true) with check (true);
grant insert on core.events to freehold_platform;
create policy platform on core.subject_keys to freehold_platform using (true) with check (true);
grant select, insert on core.subject_keys to freehold_platform;

-- A slug that a tenant gave up still leads to it for a while: its claim ends instead of going.
grant update (expires_at) on core.claims to freehold_app;
create policy platform on core.claims to freehold_platform using (true) with check (true);
grant select, insert, update (expires_at) on core.claims to freehold_platform;

-- Who is in a tenant, for support.
create policy platform on core.memberships to freehold_platform using (true) with check (true);
grant select on core.memberships to freehold_platform;
create policy platform on core.role_assignments to freehold_platform using (true) with check (true);
grant select on core.role_assignments to freehold_platform;

-- ------------------------------------------------------------------ what is left of closed tenants

-- Row-level security is forced, so the owner sees no row without a policy. This one lets its
-- functions remove the rows of the one tenant they have set, and write none.
create function core.purgeable(relation regclass) returns void
language plpgsql as $$
begin
  execute format(
    'create policy purge on %s to freehold_owner using (%s) with check (false)', relation,
    'tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid'
  );
end
$$;
revoke execute on function core.purgeable(regclass) from public;

-- As before, and purgeable.
create or replace function core.tenant_table(
  relation regclass,
  app text default 'select, insert, update, delete',
  account text default '',
  dispatch text default '',
  platform text default ''
) returns void
language plpgsql as $$
declare
  mine constant text := 'tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid';
  wide record;
begin
  execute format('alter table %s enable row level security', relation);
  execute format('alter table %s force row level security', relation);
  execute format('create policy tenant on %s to freehold_app using (%s) with check (%s)', relation, mine, mine);
  execute format('grant %s on %s to freehold_app', app, relation);
  for wide in
    select * from (values ('account', account), ('dispatch', dispatch), ('platform', platform)) as w (name, verbs)
    where verbs <> ''
  loop
    execute format('create policy %I on %s to %I using (true) with check (true)', wide.name, relation, 'freehold_' || wide.name);
    execute format('grant %s on %s to %I', wide.verbs, relation, 'freehold_' || wide.name);
  end loop;
  perform core.purgeable(relation);
end
$$;

select core.purgeable(c.oid) from pg_class c
where c.relnamespace = 'core'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and obj_description(c.oid, 'pg_class') ~ '^(tenant|claims): ';

-- Purges under way, with how many rows have gone of each table; gone itself once its receipt is
-- written. No role of a request sees it.
create table core.purges (
  id         uuid primary key, -- of the tenant
  slug       text not null,
  removed    jsonb not null default '{}',
  started_at timestamptz not null default clock_timestamp()
);
comment on table core.purges is 'infrastructure: tenants whose rows are being removed';
grant select, delete on core.purges to freehold_dispatch;

-- Who is to be purged, and to whom the receipt goes.
create policy dispatch on core.tenants to freehold_dispatch using (true) with check (true);
grant select on core.tenants to freehold_dispatch;

-- Removes at most `batch` rows of a tenant that was closed 31 days ago: a day more than it can be
-- reopened, so that clocks of nodes need not agree. Answers whether that was the last of it, its row
-- in core.tenants included. Every table of ours that has a tenant_id is found in the catalogue:
-- first keys that seal, then tables that point at others before those they point at. Partitions are
-- taken one by one, for only within one does a row's place name it. Compiling the statement that
-- reads the catalogue would take longer than removing the rows.
create function core.purge_tenant(purged uuid, batch int) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  target record;
  left_over int := least(batch, 100000);
  gone int;
begin
  perform set_config('app.tenant_id', purged::text, true);
  perform from core.tenants t
    where t.tenant_id = purged and t.kind <> 'platform' and t.status = 'inactive'
      and t.closed_at < clock_timestamp() - interval '31 days'
    for update;
  if not found then
    raise exception 'tenant % is not to be purged', purged;
  end if;
  insert into core.purges (id, slug) select tenant_id, slug from core.tenants where tenant_id = purged
    on conflict do nothing;
  for target in
    with recursive ours as (
      select c.oid from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
      where c.relkind = 'r' and pg_get_userbyid(n.nspowner) = 'freehold_owner'
    ), depths as (
      select oid, 0 as depth from ours
      union
      select k.conrelid, d.depth + 1 from depths d
      join pg_constraint k on k.confrelid = d.oid and k.contype = 'f' and k.conrelid <> k.confrelid
      where d.depth < 20
    )
    select o.oid::regclass::text as name, coalesce(pg_partition_root(o.oid), o.oid)::regclass::text as root
    from ours o join depths d on d.oid = o.oid
    group by o.oid
    order by o.oid = 'core.subject_keys'::regclass desc, max(d.depth) desc, 2, 1
  loop
    execute format(
      'delete from %s where ctid = any (array(select ctid from %s where tenant_id = $1 limit $2)) and tenant_id = $1',
      target.name, target.name
    ) using purged, left_over;
    get diagnostics gone = row_count;
    left_over := left_over - gone;
    if gone > 0 then
      update core.purges p
      set removed = p.removed || jsonb_build_object(target.root, coalesce((p.removed ->> target.root)::bigint, 0) + gone)
      where p.id = purged;
    end if;
    exit when left_over <= 0;
  end loop;
  perform set_config('app.tenant_id', '', true);
  return left_over > 0;
end
$$;
revoke execute on function core.purge_tenant(uuid, int) from public;
grant execute on function core.purge_tenant(uuid, int) to freehold_dispatch;
