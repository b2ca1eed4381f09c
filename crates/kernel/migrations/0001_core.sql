-- The kernel's own schema: who exists (tenants, users, memberships), what happened (events),
-- what is unique in the whole installation (claims), and what nodes tell each other (changes).
--
-- Classes of tables, stated in `comment on table` and checked at every start:
--   tenant          rows of one tenant; tenant_id first in every key; row-level security, forced
--   global          spans tenants; only the account role reads it
--   claims          installation-wide uniqueness; a conflict says nothing about the holder
--   reference       the same for everybody; nobody but the owner writes it
--   infrastructure  the kernel's own housekeeping

-- Roles reach tables only through the grants below; nothing is open by default.
grant usage on schema core to freehold_app, freehold_account, freehold_dispatch, freehold_platform;

-- ------------------------------------------------------------------ how a tenant table is made

-- Turns a table into a tenant table: row-level security enabled and forced, the one canonical
-- policy for the application role, and the verbs each role may use. `app` sees one tenant.
-- `account` (before a tenant is known), `dispatch` (the kernel's own workers) and `platform`
-- (operators) see all tenants, therefore each of their verbs is granted by name, here, and
-- listed in snapshots/schema.md for review.
create function core.tenant_table(
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
end
$$;
revoke execute on function core.tenant_table(regclass, text, text, text, text) from public;

-- ------------------------------------------------------------------ the directory

-- A customer organisation. Its key is called tenant_id like everywhere else, so that one policy,
-- one lint rule and one sharding rule hold for this table too.
create table core.tenants (
  tenant_id  uuid primary key,
  slug       text not null check (slug ~ '^[a-z0-9-]{3,40}$'),
  name       text not null check (char_length(name) between 1 and 200),
  kind       text not null check (kind in ('live', 'sandbox', 'platform')),
  status     text not null default 'active' check (status in ('active', 'suspended', 'inactive')),
  time_zone  text not null default 'UTC',
  locale     text not null default 'en',
  currency   text not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
  version    bigint not null default 1,
  created_at timestamptz not null
);
comment on table core.tenants is 'tenant: a customer organisation';
select core.tenant_table('core.tenants', app => 'select, update', account => 'select, insert', platform => 'select');

-- A person. Global by e-mail: one person may be a member of many tenants.
create table core.users (
  id               uuid primary key,
  email            text not null check (char_length(email) <= 254),
  email_normalised text not null,
  verified_at      timestamptz,
  name             text not null check (char_length(name) between 1 and 200),
  locale           text not null default 'en',
  time_zone        text not null default 'UTC',
  status           text not null default 'active' check (status in ('active', 'disabled')),
  created_at       timestamptz not null,
  constraint users_email_key unique (email_normalised)
);
comment on table core.users is 'global: a person, whatever tenants they belong to';
grant select, insert, update on core.users to freehold_account;

-- Which tenants a person is in, for sign-in, before any tenant is known. Written together with
-- the membership; kept apart because an index on memberships may not start with user_id.
create table core.user_tenants (
  user_id      uuid not null references core.users (id),
  tenant_id    uuid not null references core.tenants (tenant_id),
  joined_at    timestamptz not null,
  last_used_at timestamptz, -- null: not yet
  primary key (user_id, tenant_id)
);
comment on table core.user_tenants is 'global: the tenants of a person, for sign-in';
grant select, insert, update, delete on core.user_tenants to freehold_account;

-- A person in a tenant, under the e-mail and name this tenant knows them by.
create table core.memberships (
  tenant_id  uuid not null references core.tenants (tenant_id),
  user_id    uuid not null,
  email      text not null,
  name       text not null,
  status     text not null default 'active' check (status in ('active', 'removed')),
  created_at timestamptz not null,
  primary key (tenant_id, user_id)
);
comment on table core.memberships is 'tenant: a person in a tenant';
select core.tenant_table('core.memberships', account => 'select, insert, update');

-- What a member may do. role_id is a system role (fixed ids, see the kernel's SystemRole) or one
-- of the tenant's own.
create table core.role_assignments (
  tenant_id uuid not null,
  id        uuid not null,
  user_id   uuid not null,
  role_id   uuid not null,
  outlet_id uuid,
  primary key (tenant_id, id),
  constraint role_assignments_once unique nulls not distinct (tenant_id, user_id, role_id, outlet_id),
  foreign key (tenant_id, user_id) references core.memberships (tenant_id, user_id) on delete cascade
);
comment on table core.role_assignments is 'tenant: a role held by a member';
select core.tenant_table('core.role_assignments', account => 'select, insert');

-- ------------------------------------------------------------------ claims

-- Whatever must be unique in the whole installation: slugs, key ids, tokens. A tenant may take and
-- release claims of its own and sees nobody else's; the key is hashed, so a dump tells little.
create table core.claims (
  kind       text not null,
  key_hash   bytea not null,
  tenant_id  uuid not null references core.tenants (tenant_id),
  subject_id uuid not null,
  expires_at timestamptz,
  primary key (kind, key_hash)
);
comment on table core.claims is 'claims: installation-wide uniqueness and look-up by secret or name';
create index claims_that_expire on core.claims (tenant_id, expires_at) where expires_at is not null;
select core.tenant_table(
  'core.claims',
  app => 'select, insert, delete', account => 'select, insert, delete', dispatch => 'select, delete'
);

-- ------------------------------------------------------------------ events: audit log and outbox source

-- Keys that seal personal data of one person in one tenant. Destroying the row erases the person
-- from the audit log while the log's digests still verify.
create table core.subject_keys (
  tenant_id  uuid not null,
  subject    text not null,
  sealed_key bytea not null,
  created_at timestamptz not null,
  primary key (tenant_id, subject)
);
comment on table core.subject_keys is 'tenant: keys that seal personal data in events';
select core.tenant_table(
  'core.subject_keys',
  app => 'select, insert', account => 'select, insert', dispatch => 'select, insert'
);
-- A key is sealed anew after the secret key has changed; whose it is never changes.
grant update (sealed_key) on core.subject_keys to freehold_dispatch;

-- The append-only stream. `data` is what a webhook would carry, without personal fields;
-- `personal` (personal fields, before and after, ip, user agent) is sealed with a subject key;
-- `digest` hashes the row as stored. No role but the owner may change or remove a row.
create table core.events (
  tenant_id    uuid not null,
  id           uuid not null,
  at           timestamptz not null,
  occurred_at  timestamptz, -- when a customer says it happened, if not just then
  source       text not null check (source in ('freehold', 'custom')),
  type         text not null,
  actor        text not null,
  on_behalf_of text,
  subject      text not null,
  request_id   text,
  data         jsonb not null,
  personal     bytea,
  digest       bytea not null,
  primary key (tenant_id, at, id)
) partition by range (at);
comment on table core.events is 'tenant: what happened, append-only; the audit log';
create index events_by_actor on core.events (tenant_id, actor, at);
create index events_by_type on core.events (tenant_id, type, at);
create index events_by_subject on core.events (tenant_id, subject, at);
select core.tenant_table('core.events', app => 'select, insert', account => 'insert');

-- The digest of an event as stored: SHA-256 over an unambiguous encoding (a JSON array of every
-- column, time in microseconds since 1970) followed by the sealed part. Declared stable, as what it
-- calls is, because PostgreSQL then inlines it; as a function of its own it cost twice the row.
create function core.event_digest(
  tenant_id uuid, id uuid, at timestamptz, occurred_at timestamptz, source text, type text,
  actor text, on_behalf_of text, subject text, request_id text, data jsonb, personal bytea
) returns bytea
language sql stable as $$
  select sha256(
    convert_to(
      jsonb_build_array(
        tenant_id, id, (extract(epoch from at) * 1000000)::bigint,
        (extract(epoch from occurred_at) * 1000000)::bigint, source, type, actor, on_behalf_of,
        subject, request_id, data
      )::text,
      'UTF8'
    ) || coalesce(personal, ''::bytea)
  )
$$;

-- Makes the monthly partitions that cover `from_day` and the `months` after it. Runs with the
-- owner's rights; nobody has rights on a partition itself, because a partition read directly
-- would not apply the parent's policy.
create function core.make_event_partitions(from_day date, months int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  first_day date;
  made int := 0;
begin
  perform pg_advisory_xact_lock(7235410001);
  for i in 0 .. least(months, 120) loop
    first_day := (date_trunc('month', from_day::timestamp) + make_interval(months => i))::date;
    if to_regclass(format('core.events_%s', to_char(first_day, 'YYYY_MM'))) is null then
      execute format(
        'create table core.%I partition of core.events for values from (%L) to (%L)',
        'events_' || to_char(first_day, 'YYYY_MM'),
        first_day::text || ' 00:00:00+00',
        (first_day + interval '1 month')::date::text || ' 00:00:00+00'
      );
      execute format('comment on table core.%I is %L', 'events_' || to_char(first_day, 'YYYY_MM'), 'infrastructure: a month of core.events');
      made := made + 1;
    end if;
  end loop;
  return made;
end
$$;
revoke execute on function core.make_event_partitions(date, int) from public;
grant execute on function core.make_event_partitions(date, int) to freehold_dispatch;

-- ------------------------------------------------------------------ idempotent requests

-- The first answer to a POST that carried an Idempotency-Key, sealed, kept a day.
create table core.idempotency_keys (
  tenant_id   uuid not null,
  scope_hash  bytea not null,
  fingerprint bytea not null,
  answer      bytea not null,
  expires_at  timestamptz not null,
  primary key (tenant_id, scope_hash)
);
comment on table core.idempotency_keys is 'tenant: first answers to requests that carried an Idempotency-Key';
create index idempotency_keys_by_expiry on core.idempotency_keys (tenant_id, expires_at);
select core.tenant_table('core.idempotency_keys', dispatch => 'select, delete');

-- The first statement of a transaction whose request carries a key: raises when another request
-- with the same key is still under way, so that the wait is nobody's.
create function core.hold_idempotency_key(lock_key bigint) returns void
language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(lock_key) then
    raise exception 'a request with this key is under way' using errcode = 'FH409';
  end if;
end
$$;

-- ------------------------------------------------------------------ what nodes tell each other

-- One row for each change that other nodes must act on at once (a revoked session, a changed
-- role). NOTIFY is only a hint; every node also looks once a second. Short-lived.
create table core.changes (
  id      uuid primary key,
  at      timestamptz not null default clock_timestamp(),
  topic   text not null,
  subject text not null
);
comment on table core.changes is 'infrastructure: changes that every node acts on within a second';
create index changes_by_time on core.changes (at);
grant insert on core.changes to freehold_app, freehold_account, freehold_platform;
grant select, delete on core.changes to freehold_dispatch;

-- ------------------------------------------------------------------ the installation

create table core.installation (
  singleton  boolean primary key default true check (singleton),
  id         uuid not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table core.installation is 'infrastructure: the one row that names this installation';
insert into core.installation (id) values (gen_random_uuid());
grant select on core.installation to freehold_account, freehold_dispatch;
