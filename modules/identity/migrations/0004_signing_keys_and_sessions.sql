-- Signing keys change by themselves, and sessions do not pile up.

-- A key is published from the start and signs from its turn on; the one whose turn came last signs.
-- One that is withdrawn is deleted, its private half with it.
alter table identity.signing_keys add column signs_from timestamptz;
update identity.signing_keys set signs_from = created_at;
alter table identity.signing_keys alter column signs_from set not null, drop column retired_at;
grant delete on identity.signing_keys to freehold_account;

-- Sessions that ended, by themselves or before their time, are deleted in batches a month later.
-- Each refresh moves an entry of this index: once in ten minutes for a session in use.
create index sessions_by_end on identity.sessions (coalesce(ended_at, expires_at));
grant usage on schema identity to freehold_dispatch;
grant select, update, delete on identity.sessions to freehold_dispatch;
