-- Outgoing webhooks: where tenants want their events, and what became of each.
grant usage on schema webhooks to freehold_app, freehold_dispatch;

-- A receiver of the tenant's.
create table webhooks.endpoints (
  tenant_id     uuid not null references core.tenants (tenant_id),
  id            uuid not null,
  url           text not null check (char_length(url) <= 2048),
  events        text[] not null, -- names, `resource.*`, or `*`
  description   text not null default '',
  is_active     boolean not null default true,
  sealed_secret bytea not null,
  created_by    text not null,
  created_at    timestamptz not null,
  version       bigint not null default 1,
  primary key (tenant_id, id)
);
comment on table webhooks.endpoints is 'tenant: receivers of events';
select core.tenant_table('webhooks.endpoints', dispatch => 'select, update (is_active, version)');

-- A delivery's id: the time of its event, then a digest of event and endpoint (UUIDv7's layout). An
-- event that is dispatched twice makes the same row, and ids sort by time.
create function webhooks.delivery_id(event_id uuid, endpoint_id uuid) returns uuid
language sql immutable parallel safe as $$
  select overlay(
    overlay(md5(event_id::text || endpoint_id::text) placing left(replace(event_id::text, '-', ''), 12) || '7' from 1 for 13)
    placing '8' from 17 for 1)::uuid
$$;

-- One event on its way to one receiver. What is sent is the event's data, in core.events.
create table webhooks.deliveries (
  tenant_id       uuid not null,
  id              uuid not null,
  endpoint_id     uuid not null,
  event_id        uuid not null,
  event_type      text not null,
  event_at        timestamptz not null,
  status          text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  turn            int not null default 1, -- goes up when it is retried by hand: older jobs are void
  attempts        int not null default 0,
  status_code     int,
  error           text,
  next_attempt_at timestamptz,
  delivered_at    timestamptz,
  created_at      timestamptz not null,
  primary key (tenant_id, id),
  foreign key (tenant_id, endpoint_id) references webhooks.endpoints (tenant_id, id) on delete cascade
) with (fillfactor = 80);
comment on table webhooks.deliveries is 'tenant: events on their way to receivers';
create index deliveries_by_endpoint on webhooks.deliveries (tenant_id, endpoint_id, id);
select core.tenant_table('webhooks.deliveries', app => 'select, insert, update', dispatch => 'select, insert, update');

-- One request to a receiver, and what came back.
create table webhooks.attempts (
  tenant_id     uuid not null,
  delivery_id   uuid not null,
  number        int not null,
  at            timestamptz not null,
  duration_ms   int not null,
  status_code   int,
  error         text,
  response_body text,
  primary key (tenant_id, delivery_id, number),
  foreign key (tenant_id, delivery_id) references webhooks.deliveries (tenant_id, id) on delete cascade
);
comment on table webhooks.attempts is 'tenant: requests to receivers';
select core.tenant_table('webhooks.attempts', app => 'select', dispatch => 'insert');

-- Ids under which the customer's own product sent us events: the same id again is the same event.
create table webhooks.event_keys (
  tenant_id   uuid not null references core.tenants (tenant_id),
  key         text not null,
  event_id    uuid not null,
  fingerprint bytea not null,
  created_at  timestamptz not null,
  primary key (tenant_id, key)
);
comment on table webhooks.event_keys is 'tenant: ids of events that customers sent, kept 48 hours';
create index event_keys_by_age on webhooks.event_keys (tenant_id, created_at);
select core.tenant_table('webhooks.event_keys', dispatch => 'select, delete');
