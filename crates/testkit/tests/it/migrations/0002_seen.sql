-- What subscribers got; no key, so that a test sees what came twice.
grant usage on schema fixture to freehold_dispatch;

create table fixture.seen (
  subscriber text not null,
  event_id   uuid not null,
  tenant_id  uuid not null,
  type       text not null,
  -- Deferred, so that a test can make COMMIT itself fail.
  missing    uuid constraint seen_missing_fkey references core.tenants (tenant_id) deferrable initially deferred
);
comment on table fixture.seen is 'infrastructure: what subscribers of the fixture got';
grant insert on fixture.seen to freehold_dispatch;

create table fixture.ticks (at timestamptz not null);
comment on table fixture.ticks is 'infrastructure: ticks of the fixture';
grant insert on fixture.ticks to freehold_dispatch;
