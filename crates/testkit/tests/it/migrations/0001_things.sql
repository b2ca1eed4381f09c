-- Things, and parts of things: what a module of the real application looks like, in small.
grant usage on schema fixture to freehold_app;

create table fixture.things (
  tenant_id  uuid not null references core.tenants (tenant_id),
  id         uuid not null,
  name       text not null check (char_length(name) between 1 and 80),
  note       text,
  parent_id  uuid,
  version    bigint not null default 1,
  created_at timestamptz not null,
  primary key (tenant_id, id),
  constraint things_name_key unique (tenant_id, name),
  -- Deferred, so that a test can make COMMIT itself fail.
  constraint things_parent_fkey foreign key (tenant_id, parent_id) references fixture.things (tenant_id, id)
    deferrable initially deferred
);
comment on table fixture.things is 'tenant: things of the fixture';
select core.tenant_table('fixture.things');
