-- The same two inserts as the bare handler's, as pgbench sends them.
\set number random(1, 64)
begin;
insert into bench.items (tenant_id, id, name, role_ids, created_at)
values (
  ('00000000-0000-7000-8000-' || lpad((:number)::text, 12, '0'))::uuid,
  gen_random_uuid(), gen_random_uuid()::text, '{rol_36cskpctvfhhj80000000000003}', now()
);
insert into bench.records
  (tenant_id, id, at, source, type, actor, subject, request_id, data, personal, digest)
values (
  ('00000000-0000-7000-8000-' || lpad((:number)::text, 12, '0'))::uuid,
  gen_random_uuid(), now(), 'freehold', 'item.created', 'usr_01jz8q6k3mf1g8tvkh4z6c9x2b',
  gen_random_uuid()::text, 'req_01jz8q6k3mf1g8tvkh4z6c9x2b',
  '{"itemId": "itm_01jz8q6k3mf1g8tvkh4z6c9x2b", "name": "0a1b2c3d-00-000000001", "roleIds": ["rol_36cskpctvfhhj80000000000003"]}',
  decode(repeat('00', 160), 'hex'), decode(repeat('00', 32), 'hex')
);
commit;
