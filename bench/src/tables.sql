-- What the ceilings read and write: tables as wide as the application's, without row-level
-- security, partitions or triggers.
create schema bench;

create table bench.items (
  tenant_id  uuid not null,
  id         uuid not null,
  name       text not null,
  role_ids   text[] not null,
  created_at timestamptz not null,
  primary key (tenant_id, id),
  unique (tenant_id, name)
);

create table bench.records (
  tenant_id  uuid not null,
  id         uuid not null,
  at         timestamptz not null,
  source     text not null,
  type       text not null,
  actor      text not null,
  subject    text not null,
  request_id text,
  data       jsonb not null,
  personal   bytea,
  digest     bytea not null,
  primary key (tenant_id, at, id)
);
create index records_by_subject on bench.records (tenant_id, subject, at);

create table bench.points (
  id         bigint primary key,
  slug       text not null,
  name       text not null,
  kind       text not null,
  status     text not null,
  time_zone  text not null,
  locale     text not null,
  currency   text not null,
  version    bigint not null,
  created_at timestamptz not null
);
insert into bench.points
select n, 'tenant-' || n, 'Tenant ' || n, 'live', 'active', 'UTC', 'en', 'USD', 1, now()
from generate_series(1, 64) as n;
