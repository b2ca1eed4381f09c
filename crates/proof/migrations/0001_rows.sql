-- Rows that say themselves to whom they were meant to belong: what many tasks at once write and read.
grant usage on schema proof to freehold_app;

create table proof.rows (
  tenant_id uuid not null,
  id        uuid not null,
  name      text not null, -- the id as events tell it
  meant     uuid not null, -- the tenant that the task was working for
  doomed    boolean not null, -- whether its transaction must come to nothing
  primary key (tenant_id, id)
);
comment on table proof.rows is 'tenant: rows of the isolation proof';
select core.tenant_table('proof.rows', app => 'select, insert');
