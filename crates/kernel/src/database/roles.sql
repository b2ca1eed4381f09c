-- The database roles of Freehold. Run by whoever may make roles, before the first migration;
-- repeating it changes nothing. See roles.rs for what each is for.
do $$
declare
  wanted record;
begin
  -- Roles belong to the cluster; two databases may be migrated at the same time.
  perform pg_advisory_xact_lock(7235410000);
  for wanted in
    select * from (values
      ('freehold_owner', 'nologin'), ('freehold_account', 'nologin'),
      ('freehold_dispatch', 'nologin'), ('freehold_platform', 'nologin'),
      ('freehold_app', 'login'), ('freehold_system', 'login noinherit')
    ) as w (name, attributes)
  loop
    if not exists (select from pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.attributes);
      if wanted.attributes like 'login%' then
        execute format('alter role %I set statement_timeout = ''30s''', wanted.name);
        execute format('alter role %I set idle_in_transaction_session_timeout = ''60s''', wanted.name);
        execute format('alter role %I set lock_timeout = ''10s''', wanted.name);
      end if;
    end if;
  end loop;
  grant freehold_account, freehold_dispatch, freehold_platform to freehold_system;
end
$$;
