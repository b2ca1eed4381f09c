-- Where each request went, and the head of what came back.
alter table webhooks.attempts
  add column url text, -- null: made before this was written down
  add column response_headers jsonb; -- null: nothing answered

-- A replay that cannot go on says why.
alter table webhooks.replays drop constraint replays_status_check;
alter table webhooks.replays
  add constraint replays_status_check
    check (status in ('running', 'completed', 'cancelled', 'failed')),
  add column error text;
-- A replay whose job is given up ends with it.
create policy dispatch on webhooks.replays to freehold_dispatch using (true) with check (true);
grant select, update (status, error, finished_at) on webhooks.replays to freehold_dispatch;
