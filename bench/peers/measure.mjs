// What the peers share: the command line, the clock, and the proof that every job ran exactly once
// and that nothing is left of them in the store.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

const BATCH = 1_000;
const POLL_MS = 5;
const STALLED_MS = 60_000;

/** The store's URL and the number of jobs: `node peer.mjs [url] [jobs]`, else the environment. */
export function commandLine(urlVariable) {
    const url = process.argv[2] ?? process.env[urlVariable];
    const jobs = Number(process.argv[3] ?? process.env.JOBS ?? 50_000);
    if (!url || !Number.isInteger(jobs) || jobs < 1) {
        throw new Error(`usage: node ${process.argv[1]} [url] [jobs], or ${urlVariable} and JOBS`);
    }
    return { url, jobs };
}

/** A pool to look into the store with; refuses a PostgreSQL that may lose what it acknowledged. */
export async function durablePostgres(url) {
    const pool = new pg.Pool({ connectionString: url });
    pool.on("error", crash).on("connect", (client) => client.on("error", crash));
    const { rows: [shown] } = await pool.query(
        `select current_setting('server_version') as version, current_setting('fsync') as fsync,
                current_setting('synchronous_commit') as synchronous_commit`,
    );
    if (shown.fsync !== "on" || shown.synchronous_commit !== "on") {
        throw new Error(`PostgreSQL must be durable: ${JSON.stringify(shown)}`);
    }
    const store = `PostgreSQL ${shown.version.split(" ")[0]}, fsync and synchronous_commit on`;
    return { pool, store };
}

/** A figure from a run with errors is no figure. */
export function crash(error) {
    console.error(error);
    process.exit(1);
}

/**
 * Enqueues the jobs, then runs them, and prints the line of JSON.
 *
 * `enqueue(numbers)` adds one batch of jobs, `remaining()` asks the store how many are not completed.
 * `startWorkers(ran)` starts workers whose handler does nothing but `ran(number)`, and answers with
 * the function that stops them.
 */
export async function measure(peer) {
    const { name, jobs, settings } = peer;
    const enqueueSeconds = await enqueueAll(peer);
    console.error(`${name}: enqueued ${jobs} jobs in ${enqueueSeconds.toFixed(2)} s`);
    expect(await peer.remaining(), jobs, "jobs in the store before the run");
    await peer.beforeRun?.();

    const runs = new Uint8Array(jobs);
    let handled = 0;
    const started = performance.now();
    const stopWorkers = await peer.startWorkers((number) => {
        runs[number] += 1;
        handled += 1;
    });
    await untilCompleted(peer, () => handled);
    const runSeconds = (performance.now() - started) / 1_000;
    await stopWorkers();
    console.error(`${name}: ran ${handled} jobs in ${runSeconds.toFixed(2)} s`);
    expect(handled, jobs, "handlers that ran");
    expect(runs.filter((times) => times === 1).length, jobs, "jobs that ran exactly once");
    expect(await peer.remaining(), 0, "jobs in the store after the run");

    console.log(JSON.stringify({
        peer: name,
        version: versionOf(name),
        jobs,
        enqueuePerSecond: Math.round(jobs / enqueueSeconds),
        runPerSecond: Math.round(jobs / runSeconds),
        settings,
    }));
}

async function enqueueAll({ jobs, batchesAtOnce, enqueue }) {
    let next = 0;
    const takeBatches = async () => {
        while (next < jobs) {
            const first = next;
            next = Math.min(jobs, first + BATCH);
            await enqueue(Array.from({ length: next - first }, (_, offset) => first + offset));
        }
    };
    const started = performance.now();
    await Promise.all(Array.from({ length: batchesAtOnce }, takeBatches));
    return (performance.now() - started) / 1_000;
}

/** Asks the store only once every handler ran: asking earlier would slow the peer down. */
async function untilCompleted({ jobs, remaining }, handled) {
    let seen = 0;
    let seenAt = performance.now();
    while (handled() < jobs || (await remaining()) > 0) {
        if (handled() > seen) {
            seen = handled();
            seenAt = performance.now();
        }
        if (performance.now() - seenAt > STALLED_MS) {
            throw new Error(`stalled: ${seen} handlers ran, ${await remaining()} jobs remain`);
        }
        await sleep(POLL_MS);
    }
}

function versionOf(name) {
    const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
    return JSON.parse(readFileSync(manifest, "utf8")).version;
}

function expect(actual, wanted, what) {
    if (actual !== wanted) throw new Error(`${what}: ${actual} instead of ${wanted}`);
}
