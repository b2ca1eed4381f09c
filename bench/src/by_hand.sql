-- What ceiling D keeps: what was taken, and what was sent of it. No policy, no foreign key.
create schema if not exists bench;

create table bench.taken (
  tenant_id uuid not null,
  id        uuid not null,
  type      text not null,
  data      jsonb not null,
  at        timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);

create table bench.sent (
  tenant_id   uuid not null,
  id          uuid not null,
  status_code int not null,
  at          timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
