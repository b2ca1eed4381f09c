-- What people see of their sessions, and failed tries that are counted by all nodes together.

-- Where a session was last refreshed from, and when its holder last proved who they are.
alter table identity.sessions
  add column user_agent    text,
  add column ip            text,
  add column stepped_up_at timestamptz; -- null: not since the sign-in
alter table identity.sessions drop constraint sessions_end_reason_check;
alter table identity.sessions add constraint sessions_end_reason_check check (
  end_reason ~ '^[a-z_]{1,40}$'); -- the code names the reasons
create index sessions_alive_by_user on identity.sessions (user_id, id) where ended_at is null;

-- Failed tries to prove who one is. `name` stands for whom and from where, as an HMAC: an address
-- that nobody registered is kept nowhere. Five lock until `forget_at` (see lockout.rs).
create table identity.failed_tries (
  name      bytea primary key,
  failures  int not null,
  forget_at timestamptz not null
);
comment on table identity.failed_tries is 'global: failed tries to sign in';
create index failed_tries_by_end on identity.failed_tries (forget_at);
grant select, insert, update, delete on identity.failed_tries to freehold_account;
