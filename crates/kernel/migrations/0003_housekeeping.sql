-- Keeping house: months of events that are over, secret keys that go out of use, work that was
-- given up.

-- ------------------------------------------------------------------ months that are over

-- What was dropped from core.events, one row per tenant and month, so that the log says itself what
-- it no longer holds. Only the owner's function below adds rows. `mac` is made with the
-- installation's secret key, which the database does not have: a row without it is a forgery.
create table core.event_gaps (
  tenant_id  uuid not null,
  from_at    timestamptz not null,
  until_at   timestamptz not null check (until_at > from_at),
  events     bigint not null check (events > 0),
  digest     bytea not null, -- core.digest_chain over the digests of the events that were here
  dropped_at timestamptz not null default clock_timestamp(),
  mac        bytea, -- null: in the transaction that drops, until it has been signed
  primary key (tenant_id, from_at)
);
comment on table core.event_gaps is 'tenant: months of events that were dropped, and what they held';
select core.tenant_table('core.event_gaps', app => 'select', dispatch => 'select');
grant update (mac) on core.event_gaps to freehold_dispatch;
-- Row-level security is forced, so even the owner needs a policy to add rows.
create policy owner on core.event_gaps for insert to freehold_owner with check (true);

-- One digest that stands for many in their order: sha256(… sha256(sha256('' || first) || second) …).
create function core.chain_digest(chain bytea, digest bytea) returns bytea
language sql immutable as $$ select sha256(chain || digest) $$;

create aggregate core.digest_chain(bytea) (sfunc = core.chain_digest, stype = bytea, initcond = '');

-- Drops the months of core.events that end at `before` or earlier, and notes for each tenant what
-- they held. A month with events that a subscriber has yet to handle stays. Answers how many months
-- were dropped. Everything is read before anything is dropped: dropping locks the whole log, and
-- that must be short.
create function core.drop_event_partitions(before date) returns int
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  month record;
  due text[] := '{}';
begin
  -- A node whose clock runs ahead must not take what is recent with it.
  if before > date_trunc('month', clock_timestamp())::date then
    raise exception 'months of core.events are dropped once they are over, and % is to come', before;
  end if;
  perform pg_advisory_xact_lock(7235410001);
  for month in
    select m.name, m.from_at, m.from_at + interval '1 month' as until_at
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (
      select c.relname::text as name, to_timestamp(substring(c.relname from 8), 'YYYY_MM') as from_at
    ) m
    where i.inhparent = 'core.events'::regclass and m.name ~ '^events_\d{4}_\d{2}$'
      and m.from_at + interval '1 month' <= before::timestamptz
      and not exists (select from core.outbox o
        where o.event_at >= m.from_at and o.event_at < m.from_at + interval '1 month')
      and not exists (select from core.outbox_dead o
        where o.event_at >= m.from_at and o.event_at < m.from_at + interval '1 month')
    order by m.from_at
  loop
    -- Nobody writes to a month that is over; should somebody, then not between count and drop.
    execute format('lock table core.%I in share mode', month.name);
    execute format(
      'insert into core.event_gaps (tenant_id, from_at, until_at, events, digest)
       select tenant_id, $1, $2, count(*), core.digest_chain(digest order by at, id)
       from core.%I group by tenant_id', month.name
    ) using month.from_at, month.until_at;
    due := due || month.name;
  end loop;
  for i in 1 .. cardinality(due) loop
    execute format('drop table core.%I', due[i]);
  end loop;
  return cardinality(due);
end
$$;
revoke execute on function core.drop_event_partitions(date) from public;
grant execute on function core.drop_event_partitions(date) to freehold_dispatch;

-- ------------------------------------------------------------------ secret keys

-- The secret keys that something in this database may be sealed under, by the first bytes of what
-- they seal. A node that has not been given all of them does not start.
create table core.secret_keys (
  id         bytea primary key check (length(id) = 4),
  started_at timestamptz not null default clock_timestamp() -- when a node last started with it in use
);
comment on table core.secret_keys is 'infrastructure: the ids of secret keys under which something is sealed';
grant select, insert, update, delete on core.secret_keys to freehold_dispatch;

-- ------------------------------------------------------------------ work that was given up

create index outbox_dead_by_time on core.outbox_dead (died_at);
