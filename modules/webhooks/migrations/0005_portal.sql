-- Endpoints of the tenant's own customers, who manage them with links of the portal.
alter table webhooks.endpoints
  add column customer text check (char_length(customer) between 1 and 64); -- null: the tenant's own
create index endpoints_by_customer on webhooks.endpoints (tenant_id, customer, id);

-- Beside the tenant's policy, and narrowing it: a transaction of a customer's sees that customer's
-- rows and no others, nor the tenant's own, whose customer is null. Everybody else's names none.
create policy customer on webhooks.endpoints as restrictive to freehold_app
  using (coalesce(current_setting('app.customer', true), '') in ('', customer))
  with check (coalesce(current_setting('app.customer', true), '') in ('', customer));
