-- How people and programs prove who they are.
grant usage on schema identity to freehold_app, freehold_account;

-- A person's password. Apart from core.users, so that nothing that reads a person reads a hash.
create table identity.passwords (
  user_id    uuid primary key references core.users (id) on delete cascade,
  hash       text not null, -- PHC string, argon2id
  changed_at timestamptz not null
);
comment on table identity.passwords is 'global: password hashes';
grant select, insert, update on identity.passwords to freehold_account;

-- One sign-in of a person on one device. `generation` is the refresh token in use; a predecessor
-- stays good until its successor has been used, and ten seconds more (see refresh.rs).
create table identity.sessions (
  id           uuid primary key,
  user_id      uuid not null references core.users (id) on delete cascade,
  tenant_id    uuid references core.tenants (tenant_id),
  generation   int not null default 1,
  generated_ats timestamptz[] not null, -- when the last generations were made, the newest first
  created_at   timestamptz not null,
  expires_at   timestamptz not null,
  ended_at     timestamptz,
  end_reason   text check (end_reason in ('logout', 'replay'))
);
comment on table identity.sessions is 'global: sign-ins of people';
create index sessions_by_user on identity.sessions (user_id, created_at);
grant select, insert, update on identity.sessions to freehold_account;

-- Keys that sign access tokens (Ed25519). The private half is sealed.
create table identity.signing_keys (
  id             uuid primary key,
  public_key     bytea not null,
  sealed_private bytea not null,
  created_at     timestamptz not null,
  retired_at     timestamptz
);
comment on table identity.signing_keys is 'global: keys that sign access tokens';
grant select, insert, update (sealed_private) on identity.signing_keys to freehold_account;

-- A program of a tenant, with roles of its own. Survives the person who made it.
create table identity.service_accounts (
  tenant_id  uuid not null references core.tenants (tenant_id),
  id         uuid not null,
  name       text not null check (char_length(name) between 1 and 100),
  role_ids   uuid[] not null,
  created_at timestamptz not null,
  primary key (tenant_id, id),
  constraint service_accounts_name_key unique (tenant_id, name)
);
comment on table identity.service_accounts is 'tenant: programs with roles of their own';
select core.tenant_table('identity.service_accounts', account => 'select');

-- A key of a person (scopes are met with what the person may do at the time) or of a service
-- account. Only SHA-256 of the secret is kept; during rotation the previous one is good for a while.
create table identity.api_keys (
  tenant_id            uuid not null references core.tenants (tenant_id),
  id                   uuid not null,
  name                 text not null check (char_length(name) between 1 and 100),
  user_id              uuid,
  service_account_id   uuid,
  scopes               text[], -- null: everything the owner may do
  secret_hash          bytea not null,
  previous_secret_hash bytea,
  previous_until       timestamptz,
  allowed_ips          text[] not null default '{}',
  expires_at           timestamptz,
  last_used_at         timestamptz,
  created_at           timestamptz not null,
  primary key (tenant_id, id),
  constraint api_keys_one_owner check (num_nonnulls(user_id, service_account_id) = 1),
  constraint api_keys_owner foreign key (tenant_id, user_id)
    references core.memberships (tenant_id, user_id) on delete cascade,
  foreign key (tenant_id, service_account_id)
    references identity.service_accounts (tenant_id, id) on delete cascade
);
comment on table identity.api_keys is 'tenant: keys of people and of service accounts';
create index api_keys_by_service_account on identity.api_keys (tenant_id, service_account_id);
create index api_keys_by_user on identity.api_keys (tenant_id, user_id);
select core.tenant_table('identity.api_keys', account => 'select, update');
