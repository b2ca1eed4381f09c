-- Events of many requests and tenants are taken in one transaction (docs/adr/0013).
grant insert, update on webhooks.event_keys to freehold_dispatch;

-- Rows of the log were checked one by one against what they belong to, each check a statement of its
-- own and a lock on one and the same row of endpoints. Both rows are written by the code that reads
-- the other; a webhook's log is removed in pieces once the webhook is gone (docs/adr/0014).
alter table webhooks.attempts drop constraint attempts_tenant_id_delivery_id_fkey;
alter table webhooks.deliveries drop constraint deliveries_tenant_id_endpoint_id_fkey;
grant delete on webhooks.deliveries, webhooks.attempts to freehold_app;

-- A replay begins the schedule of retries anew.
alter table webhooks.deliveries add column attempts_before int not null default 0;
