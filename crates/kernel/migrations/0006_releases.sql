-- Which release has brought the schema up to date. A program compares it with its own: the number
-- of a migration says what has run, and not how far a newer program has gone.
create table core.releases (
  number  int primary key, -- counts releases that changed a schema
  version text not null,
  at      timestamptz not null default clock_timestamp()
);
comment on table core.releases is 'infrastructure: the releases that brought the schema up to date';
grant select on core.releases to freehold_dispatch;
