-- One row by primary key, as `pgbench -S` does it, of the width of a tenant.
\set number random(1, 64)
select id, slug, name, kind, status, time_zone, locale, currency, version, created_at
from bench.points where id = :number;
