// A database for one peer: `node database.mjs create name` prints its URL, `drop name` removes it.
// DATABASE_URL is a superuser's URL of the server.
import pg from "pg";

const [what, name] = process.argv.slice(2);
const statements = {
    create: `create database ${pg.escapeIdentifier(name)}`,
    drop: `drop database if exists ${pg.escapeIdentifier(name)} with (force)`,
};

const server = process.env.DATABASE_URL;
const client = new pg.Client(server);
await client.connect();
await client.query(statements[what]);
await client.end();

if (what === "create") {
    const url = new URL(server);
    url.pathname = name;
    console.log(url.href);
}
