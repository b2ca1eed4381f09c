// graphile-worker on PostgreSQL. Usage: node graphile.mjs [url] [jobs], or DATABASE_URL and JOBS.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { commandLine, durablePostgres, measure } from "./measure.mjs";

// On two cores, 1: 119,000/s, 2: 137,000/s, 4: 152,000/s; and with `addJobs` of the JavaScript API,
// which calls the SQL function `add_jobs` and fetches every row that it made, at most 66,000/s.
const BATCHES_AT_ONCE = 4;
// What its documentation recommends for throughput: 24 jobs at once, and completions batched without
// delay. 100 jobs at once or a delay of 5 ms made no difference.
const CONCURRENT_JOBS = 24;
// The 500 of its documentation ran 35,000/s, 5,000 in one instance 53,000/s, 10,000 some 55,000/s.
// A second instance fetches while the first one runs: 60,000/s. 4 of them ran 55,000/s.
const LOCAL_QUEUE = 5_000;
const INSTANCES = 2;

const { url, jobs } = commandLine("DATABASE_URL");
const { pool, store } = await durablePostgres(url);
const logger = new Logger(() => (level, message) => {
    if (level === "error" || level === "warning") console.error(message);
});
const utils = await makeWorkerUtils({ pgPool: pool, logger });
await utils.migrate();

const preset = {
    worker: {
        connectionString: url,
        concurrentJobs: CONCURRENT_JOBS,
        maxPoolSize: CONCURRENT_JOBS + 1,
        localQueue: { size: LOCAL_QUEUE },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
    },
};

await measure({
    name: "graphile-worker",
    jobs,
    batchesAtOnce: BATCHES_AT_ONCE,
    settings:
        `${store}; ${BATCHES_AT_ONCE} batches of 1,000 at once with add_jobs; ` +
        `${INSTANCES} instances of ${CONCURRENT_JOBS} concurrentJobs, localQueue ${LOCAL_QUEUE}, ` +
        `completeJobBatchDelay 0; vacuum analyze before the run`,

    enqueue: (numbers) =>
        pool.query({
            name: "add_jobs",
            text: `select count(*) from graphile_worker.add_jobs(array(
                     select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))`,
            values: [JSON.stringify(numbers.map((number) => (
                { identifier: "nothing", payload: { number } }
            )))],
        }),

    async remaining() {
        const { rows } = await pool.query("select count(*) from graphile_worker._private_jobs");
        return Number(rows[0].count);
    },

    // Without statistics a backlog of 200,000 ran at a third of the rate. Autovacuum would gather
    // them within a minute.
    beforeRun: () => pool.query("vacuum analyze"),

    async startWorkers(ran) {
        const taskList = { nothing: async ({ number }) => ran(number) };
        const options = { preset, logger, taskList, noHandleSignals: true };
        const runners = await Promise.all(Array.from({ length: INSTANCES }, () => run(options)));
        return () => Promise.all(runners.map((runner) => runner.stop()));
    },
});
await utils.release();
await pool.end();
