-- The job queue at full strength: who works, on which queues, what waits, and what became of it.

-- ------------------------------------------------------------------ who works

-- Nodes that work on jobs. A node whose lease has run out begins none. Once another one has noticed, it
-- is gone for good: what it held is taken back, and should it live, it goes on under another id.
create table core.nodes (
  id          uuid primary key,
  name        text not null, -- of the machine and the process, for people
  release     text not null,
  process     text not null, -- tells a later process on the same machine whether this one is dead
  started_at  timestamptz not null default clock_timestamp(),
  lease_until timestamptz not null,
  gone_at     timestamptz
);
comment on table core.nodes is 'infrastructure: nodes that work on jobs';
grant select, insert, update, delete on core.nodes to freehold_dispatch;
grant select on core.nodes to freehold_platform;

-- Which node hands out the jobs of which keys, so that what is promised about a key (so many at once,
-- so many a second) holds over all nodes. A key's shard is its hash. Jobs without a key need no shard.
create table core.job_shards (
  shard smallint primary key,
  node  uuid references core.nodes (id) on delete set null
);
comment on table core.job_shards is 'infrastructure: which node hands out the jobs of which keys';
insert into core.job_shards (shard) select generate_series(0, 63);
grant select, update on core.job_shards to freehold_dispatch;

-- ------------------------------------------------------------------ what waits

-- A job is `waiting` when it may run, `delayed` until `run_at`, and `active` in the hands of `node`.
-- `run_at` says since when it may run: it is set again whenever a job begins to wait, so that within a
-- queue new work is found behind old work. `queue` is the kind, or the kind and the key.
alter table core.jobs
  add column state text not null default 'waiting' check (state in ('waiting', 'delayed', 'active')),
  add column queue text,
  add column priority smallint not null default 1 check (priority between 0 and 2), -- 0 goes first
  add column unique_key text, -- no two that have never begun, and may, have the same
  add column node uuid,
  add column started_at timestamptz,
  add column progress jsonb,
  add column cancelled_by text; -- who asked for it to end; a node does it
update core.jobs set
  queue = kind || coalesce('/' || key, ''),
  claim = null,
  state = case when run_at <= clock_timestamp() then 'waiting' else 'delayed' end;
drop index core.jobs_due, core.jobs_leased, core.jobs_on_tenant_clock;
alter table core.jobs
  alter column queue set not null,
  drop column key,
  drop column lease_until;
-- In the order of the queues and, within one, of time: a claim reads each queue from where it left
-- off and never walks past what is not its to take.
create index jobs_waiting on core.jobs (lane, tenant_id, queue, priority, run_at, id) where state = 'waiting';
create index jobs_delayed on core.jobs (run_at, id) where state = 'delayed';
create index jobs_active on core.jobs (node) where state = 'active';
create index jobs_on_tenant_clock on core.jobs (tenant_id, virtual_at) where virtual_at is not null and state = 'delayed';
create unique index jobs_unique on core.jobs (tenant_id, kind, unique_key) where unique_key is not null and attempts = 0 and cancelled_by is null;
create index jobs_alike on core.jobs (tenant_id, kind, unique_key) where unique_key is not null and state <> 'active' and cancelled_by is null;
create index jobs_cancelled on core.jobs (id) where cancelled_by is not null;
grant select, update (cancelled_by) on core.jobs to freehold_platform;

-- Queues that hand nothing out: a lane, a kind, or a kind and a key.
create table core.paused_queues (
  name      text primary key,
  paused_at timestamptz not null default clock_timestamp(),
  paused_by text not null
);
comment on table core.paused_queues is 'infrastructure: queues that hand nothing out';
grant select on core.paused_queues to freehold_dispatch;
grant select, insert, delete on core.paused_queues to freehold_platform;

-- ------------------------------------------------------------------ what became of it

-- Jobs that were given up or cancelled.
alter table core.jobs_dead
  add column state text not null default 'failed' check (state in ('failed', 'cancelled')),
  add column queue text,
  add column priority smallint not null default 1,
  add column unique_key text;
update core.jobs_dead set queue = kind || coalesce('/' || key, '');
alter table core.jobs_dead
  alter column queue set not null,
  drop column key;
-- `for update` asks for the right to update a column.
grant select, delete, update (state) on core.jobs_dead to freehold_platform;

-- Jobs that are done, for as long as they are kept: a table for each day, dropped as a whole.
create table core.jobs_done (
  id          uuid not null,
  lane        smallint not null,
  kind        text not null,
  tenant_id   uuid not null,
  queue       text not null,
  priority    smallint not null,
  payload     jsonb not null,
  attempts    int not null,
  created_at  timestamptz not null,
  started_at  timestamptz,
  finished_at timestamptz not null default clock_timestamp(),
  primary key (id, finished_at)
) partition by range (finished_at);
comment on table core.jobs_done is 'infrastructure: work that was done';
grant select, insert on core.jobs_done to freehold_dispatch;
grant select on core.jobs_done to freehold_platform;

-- How many jobs ended how, for each hour and kind.
create table core.job_counts (
  hour      timestamptz not null,
  kind      text not null,
  completed bigint not null default 0,
  retried   bigint not null default 0, -- runs that failed, or asked to run again
  failed    bigint not null default 0, -- given up
  primary key (hour, kind)
);
comment on table core.job_counts is 'infrastructure: how many jobs ended how';
grant select, insert, update, delete on core.job_counts to freehold_dispatch;
grant select on core.job_counts to freehold_platform;

-- Makes the days of core.jobs_done from yesterday to a week from now, and drops those that ended before
-- `kept` from now. Runs with the owner's rights: nobody has rights on a day itself.
create function core.tend_job_days(kept interval) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  today date := clock_timestamp()::date;
  old record;
begin
  perform pg_advisory_xact_lock(7235410002);
  for i in -1 .. 7 loop
    if to_regclass(format('core.jobs_done_%s', to_char(today + i, 'YYYY_MM_DD'))) is null then
      execute format(
        'create table core.%I partition of core.jobs_done for values from (%L) to (%L)
           with (autovacuum_vacuum_insert_scale_factor = 1)',
        'jobs_done_' || to_char(today + i, 'YYYY_MM_DD'),
        (today + i)::text || ' 00:00:00+00', (today + i + 1)::text || ' 00:00:00+00'
      );
      execute format('comment on table core.%I is %L',
        'jobs_done_' || to_char(today + i, 'YYYY_MM_DD'), 'infrastructure: a day of core.jobs_done');
    end if;
  end loop;
  for old in
    select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'core.jobs_done'::regclass and c.relname ~ '^jobs_done_\d{4}_\d{2}_\d{2}$'
      and to_date(substring(c.relname from 11), 'YYYY_MM_DD') + 1 <= least(clock_timestamp() - kept, today - 1)
  loop
    execute format('drop table core.%I', old.name);
  end loop;
end
$$;
revoke execute on function core.tend_job_days(interval) from public;
grant execute on function core.tend_job_days(interval) to freehold_dispatch;
select core.tend_job_days('1 day');

-- ------------------------------------------------------------------ settling in the effect's transaction

drop function core.finish_job(uuid, uuid);
drop function core.repeat_job(uuid, uuid, interval, timestamptz, text);

-- As before; what is done is kept, if its kind says so.
create function core.finish_job(job uuid, held uuid, kept boolean) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  done core.jobs;
begin
  delete from core.jobs j
  where j.id = job and j.claim = held
    and j.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
  returning j.* into done;
  if not found then
    raise exception 'job % is no longer held under this claim', job using errcode = 'FH410';
  end if;
  if kept then
    insert into core.jobs_done
      (id, lane, kind, tenant_id, queue, priority, payload, attempts, created_at, started_at)
    values (done.id, done.lane, done.kind, done.tenant_id, done.queue, done.priority, done.payload,
      done.attempts, done.created_at, done.started_at);
  end if;
end
$$;

-- As before. A job whose like waits as well, under the same unique key, makes way.
create function core.repeat_job(job uuid, held uuid, wait interval, virtual timestamptz, error text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from core.jobs j
  where j.id = job and j.claim = held and j.unique_key is not null
    and j.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
    and exists (select from core.jobs o where o.tenant_id = j.tenant_id and o.kind = j.kind
      and o.unique_key = j.unique_key and o.state <> 'active' and o.cancelled_by is null);
  if found then
    return;
  end if;
  update core.jobs j
  set claim = null, node = null, state = 'delayed', last_error = error, virtual_at = virtual,
    failures = 0, crashes = 0,
    run_at = case when virtual is null then clock_timestamp() + wait else 'infinity' end
  where j.id = job and j.claim = held
    and j.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
  if not found then
    raise exception 'job % is no longer held under this claim', job using errcode = 'FH410';
  end if;
end
$$;
comment on function core.finish_job is 'freehold_app: settles a job of the tenant that the transaction is in';
comment on function core.repeat_job is 'freehold_app: puts off a job of the tenant that the transaction is in';
revoke execute on function core.finish_job(uuid, uuid, boolean), core.repeat_job(uuid, uuid, interval, timestamptz, text) from public;
grant execute on function core.finish_job(uuid, uuid, boolean), core.repeat_job(uuid, uuid, interval, timestamptz, text) to freehold_app;
