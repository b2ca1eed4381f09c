-- A role that a tenant made itself. The system roles are in the code (the kernel's SystemRole).
create table identity.roles (
  tenant_id   uuid not null references core.tenants (tenant_id),
  id          uuid not null,
  name        text not null check (char_length(name) between 1 and 100),
  folded_name text not null, -- lower case: two names that differ in case only would be mistaken
  description text not null default '' check (char_length(description) <= 500),
  permissions text[] not null,
  version     bigint not null default 1,
  created_at  timestamptz not null,
  primary key (tenant_id, id),
  constraint roles_name_key unique (tenant_id, folded_name)
);
comment on table identity.roles is 'tenant: roles that tenants made themselves';
select core.tenant_table('identity.roles', account => 'select');

-- Ends a person's stay in the tenant that the transaction is in: the one thing the application's
-- role may do to the tables that span tenants. Answers the sessions that were acting there.
create function identity.end_stay(person uuid, moment timestamptz) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  here constant uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
begin
  delete from core.user_tenants u where u.user_id = person and u.tenant_id = here;
  return query
    update identity.sessions s set ended_at = moment, end_reason = 'removed'
    where s.user_id = person and s.tenant_id = here and s.ended_at is null
    returning s.id;
end
$$;
comment on function identity.end_stay is 'freehold_app: ends a stay in the tenant that the transaction is in';
revoke execute on function identity.end_stay(uuid, timestamptz) from public;
grant execute on function identity.end_stay(uuid, timestamptz) to freehold_app;
