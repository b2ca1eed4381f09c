// pg-boss on PostgreSQL. Usage: node pgboss.mjs [url] [jobs], or DATABASE_URL and JOBS.
import PgBoss from "pg-boss";
import { commandLine, crash, durablePostgres, measure } from "./measure.mjs";

const QUEUE = "nothing";
// 2 or 4 at once took about half the time of 1.
const BATCHES_AT_ONCE = 4;
// A fetch sorts the whole backlog, so few large ones are best. 2,000 at once ran a fifth fewer, and
// 10,000 as many; 4 and 10 workers ran fewer than 2, and 3 about as many.
const WORKERS = 2;
const BATCH_SIZE = 5_000;

const { url, jobs } = commandLine("DATABASE_URL");
const { pool, store } = await durablePostgres(url);
const boss = new PgBoss({ connectionString: url, max: BATCHES_AT_ONCE });
boss.on("error", crash);
await boss.start();
await boss.createQueue(QUEUE);

await measure({
    name: "pg-boss",
    jobs,
    batchesAtOnce: BATCHES_AT_ONCE,
    settings:
        `${store}; ${BATCHES_AT_ONCE} batches of 1,000 at once with insert; ` +
        `${WORKERS} workers, batchSize ${BATCH_SIZE}, pollingIntervalSeconds 0.5, notifyWorker; ` +
        `vacuum analyze before the run`,

    enqueue: (numbers) => boss.insert(numbers.map((number) => ({ name: QUEUE, data: { number } }))),

    async remaining() {
        const { rows } = await pool.query(
            "select count(*) from pgboss.job where name = $1 and state <> 'completed'",
            [QUEUE],
        );
        return Number(rows[0].count);
    },

    // Without statistics some runs, with other sizes of batches, were at a tenth of the rate.
    // Autovacuum would gather them within a minute.
    beforeRun: () => pool.query("vacuum analyze"),

    async startWorkers(ran) {
        const options = { batchSize: BATCH_SIZE, pollingIntervalSeconds: 0.5 };
        for (let worker = 0; worker < WORKERS; worker += 1) {
            const id = await boss.work(QUEUE, options, async (batch) => {
                for (const job of batch) ran(job.data.number);
                // There may be more: fetch again without waiting for the rest of the interval.
                boss.notifyWorker(id);
            });
        }
        return () => boss.offWork(QUEUE);
    },
});
await boss.stop();
await pool.end();
