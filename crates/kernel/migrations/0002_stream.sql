-- What happens after a commit: events find their subscribers, jobs find a worker, schedules tick.
-- These tables are the kernel's housekeeping: requests may add to them in their transaction and see
-- nothing of them; freehold_dispatch does the rest.

-- One row for each subscriber that has not yet handled an event. Deleted when it has.
create table core.outbox (
  subscriber text not null,
  event_id   uuid not null,
  tenant_id  uuid not null,
  event_at   timestamptz not null,
  failures   int not null default 0,
  due_at     timestamptz not null default '-infinity',
  primary key (subscriber, event_id)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
comment on table core.outbox is 'infrastructure: events that a subscriber has not handled yet';
grant insert on core.outbox to freehold_app, freehold_account, freehold_platform;
grant select, insert, update, delete on core.outbox to freehold_dispatch;

-- Events that a subscriber failed on time and again, one by one. Kept, visible, re-runnable.
create table core.outbox_dead (
  subscriber text not null,
  event_id   uuid not null,
  tenant_id  uuid not null,
  event_at   timestamptz not null,
  error      text not null,
  died_at    timestamptz not null default clock_timestamp(),
  primary key (subscriber, event_id)
);
comment on table core.outbox_dead is 'infrastructure: events that a subscriber could not handle';
grant select, insert, update, delete on core.outbox_dead to freehold_dispatch;

-- Dispatching reads events of all tenants, and subscribers and schedules emit some.
create policy dispatch on core.events to freehold_dispatch using (true);
grant select, insert on core.events to freehold_dispatch;

-- Work to be done after the transaction that asked for it. `run_at` is real time, or infinity while
-- the job waits for its tenant's own clock to reach `virtual_at`. `claim` names one hand-out of the
-- job: whoever comes back with another one comes too late.
create table core.jobs (
  id          uuid primary key,
  lane        smallint not null check (lane between 0 and 2),
  kind        text not null,
  tenant_id   uuid not null,
  key         text, -- jobs with the same key run a few at a time
  payload     jsonb not null,
  run_at      timestamptz not null,
  virtual_at  timestamptz,
  attempts    int not null default 0, -- runs
  failures    int not null default 0, -- of these, failed since it last repeated itself
  crashes     int not null default 0, -- of these, ended with their node
  claim       uuid,
  lease_until timestamptz,
  last_error  text,
  created_at  timestamptz not null default clock_timestamp()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
comment on table core.jobs is 'infrastructure: work to be done after a commit';
create index jobs_due on core.jobs (lane, run_at, id) where claim is null;
create index jobs_leased on core.jobs (lease_until) where claim is not null;
create index jobs_on_tenant_clock on core.jobs (tenant_id, virtual_at) where virtual_at is not null and claim is null;
grant insert on core.jobs to freehold_app, freehold_account, freehold_platform;
grant select, insert, update, delete on core.jobs to freehold_dispatch;

-- Jobs that were given up. Kept, visible, re-runnable.
create table core.jobs_dead (
  id         uuid primary key,
  lane       smallint not null,
  kind       text not null,
  tenant_id  uuid not null,
  key        text,
  payload    jsonb not null,
  attempts   int not null,
  crashes    int not null,
  error      text not null,
  created_at timestamptz not null,
  died_at    timestamptz not null default clock_timestamp()
);
comment on table core.jobs_dead is 'infrastructure: work that was given up';
create index jobs_dead_by_time on core.jobs_dead (died_at);
grant select, insert, delete on core.jobs_dead to freehold_dispatch;

-- A job settles in the same transaction as what it did: these three run with the owner's rights
-- inside a tenant's transaction, and only for a job of that tenant that is still held under `claim`.
create function core.finish_job(job uuid, held uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from core.jobs j
  where j.id = job and j.claim = held
    and j.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
  if not found then
    raise exception 'job % is no longer held under this claim', job using errcode = 'FH410';
  end if;
end
$$;

-- Again after `wait` of real time, or at `virtual` of the tenant's own clock.
create function core.repeat_job(job uuid, held uuid, wait interval, virtual timestamptz, error text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update core.jobs j
  set claim = null, lease_until = null, last_error = error, virtual_at = virtual,
    failures = 0, crashes = 0,
    run_at = case when virtual is null then clock_timestamp() + wait else 'infinity' end
  where j.id = job and j.claim = held
    and j.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
  if not found then
    raise exception 'job % is no longer held under this claim', job using errcode = 'FH410';
  end if;
end
$$;
comment on function core.finish_job is 'freehold_app: removes a job of the tenant that the transaction is in';
comment on function core.repeat_job is 'freehold_app: puts off a job of the tenant that the transaction is in';
revoke execute on function core.finish_job(uuid, uuid), core.repeat_job(uuid, uuid, interval, timestamptz, text) from public;
grant execute on function core.finish_job(uuid, uuid), core.repeat_job(uuid, uuid, interval, timestamptz, text) to freehold_app;

-- Things that happen again and again. One node runs each due tick: it holds the row while it does.
create table core.schedules (
  name    text primary key,
  next_at timestamptz not null
);
comment on table core.schedules is 'infrastructure: when each schedule is due next';
grant select, insert, update on core.schedules to freehold_dispatch;

-- A sandbox tenant's own clock. Live tenants have none: their time is real.
create table core.tenant_clocks (
  tenant_id  uuid primary key references core.tenants (tenant_id),
  stands_at  timestamptz not null, -- what the clock showed at `set_at`
  set_at     timestamptz not null,
  frozen     boolean not null
);
comment on table core.tenant_clocks is 'tenant: the clock of a sandbox tenant';
select core.tenant_table('core.tenant_clocks', app => 'select, insert, update', dispatch => 'select');
