-- The customers' own kinds of events: what they are, and what their data must look like.
create table webhooks.event_types (
  tenant_id     uuid not null references core.tenants (tenant_id),
  name          text collate "C" not null,
  description   text not null,
  schema        jsonb, -- JSON Schema that the data of each event must satisfy
  schema_digest bytea, -- by which a node remembers what it has compiled
  sample        jsonb,
  is_deprecated boolean not null,
  bytes         integer not null, -- of schema and sample, as they came
  created_by    text not null,
  created_at    timestamptz not null,
  version       bigint not null default 1,
  primary key (tenant_id, name),
  constraint event_types_digest check ((schema is null) = (schema_digest is null))
);
comment on table webhooks.event_types is 'tenant: kinds of events of the customers'' own';
select core.tenant_table('webhooks.event_types');
