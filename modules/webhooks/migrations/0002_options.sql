-- How an endpoint wants its requests, how it does, and replays of what it missed.
alter table webhooks.endpoints
  add column options jsonb not null default '{}', -- filter, schedule, rate, concurrency
  add column header_names text[] not null default '{}',
  add column sealed_headers bytea,
  add column signing text not null default 'hmac-sha256' check (signing in ('hmac-sha256', 'ed25519')),
  add column public_key text,
  add column previous_sealed_secret bytea, -- signs, too, until then
  add column previous_until timestamptz,
  add column failing_since timestamptz, -- no request has been accepted since
  add column disabled_reason text; -- why we switched it off
grant update (failing_since, disabled_reason) on webhooks.endpoints to freehold_dispatch;

-- Answers are kept for a while only.
create index attempts_with_body on webhooks.attempts (tenant_id, at) where response_body <> '';
grant select, update (response_body) on webhooks.attempts to freehold_dispatch;

-- A window of events that an endpoint is sent again what it missed of.
create table webhooks.replays (
  tenant_id   uuid not null,
  id          uuid not null,
  endpoint_id uuid not null,
  since       timestamptz not null,
  until       timestamptz not null,
  events      text[] not null, -- as an endpoint's
  status      text not null default 'running' check (status in ('running', 'completed', 'cancelled')),
  reached_at  timestamptz not null, -- events up to this one have been looked at
  reached_id  uuid not null,
  total       bigint, -- null until they have been counted
  looked_at   bigint not null default 0,
  sent        bigint not null default 0,
  created_by  text not null,
  created_at  timestamptz not null,
  finished_at timestamptz,
  primary key (tenant_id, id),
  foreign key (tenant_id, endpoint_id) references webhooks.endpoints (tenant_id, id) on delete cascade
);
comment on table webhooks.replays is 'tenant: windows of events that receivers are sent again';
create index replays_by_endpoint on webhooks.replays (tenant_id, endpoint_id, id);
create unique index replays_running on webhooks.replays (tenant_id, endpoint_id) where status = 'running';
select core.tenant_table('webhooks.replays');
