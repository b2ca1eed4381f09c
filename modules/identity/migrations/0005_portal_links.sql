-- Portal links are kept nowhere but in their tokens; those that were taken back are, until the token
-- would have expired by itself.
create table identity.ended_portal_links (
  tenant_id uuid not null references core.tenants (tenant_id),
  id        uuid not null,
  until     timestamptz not null,
  primary key (tenant_id, id)
);
comment on table identity.ended_portal_links is 'tenant: portal links that were taken back';
select core.tenant_table('identity.ended_portal_links',
  app => 'select, insert', account => 'select', dispatch => 'select, delete');
