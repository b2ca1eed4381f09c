// BullMQ on Redis. Usage: node bullmq.mjs [url] [jobs], or REDIS_URL and JOBS.
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { commandLine, crash, measure } from "./measure.mjs";

const QUEUE = "nothing";
// 1 batch at once: 35,000/s, 2: 48,000/s, 4: the same.
const BATCHES_AT_ONCE = 2;
// One worker keeps one core busy and Redis most of another one. On two cores, 2 to 8 workers in this
// process ran as many or fewer, and 2 workers on threads of their own a quarter fewer. Concurrency 50
// or 100 made no difference, 200 and 500 ran fewer, and so did pipelining by ioredis.
const WORKERS = 1;
const CONCURRENCY = 100;

const { url, jobs } = commandLine("REDIS_URL");
// Workers block on their connection, for which BullMQ demands endless retries.
const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const connection = connect();
const queue = new Queue(QUEUE, { connection });
queue.on("error", crash);

await measure({
    name: "bullmq",
    jobs,
    batchesAtOnce: BATCHES_AT_ONCE,
    settings:
        `${await durability(connection)}; ${BATCHES_AT_ONCE} batches of 1,000 at once with addBulk; ` +
        `${WORKERS} worker, concurrency ${CONCURRENCY}, removeOnComplete`,

    enqueue: (numbers) =>
        queue.addBulk(numbers.map((number) => (
            { name: "nothing", data: { number }, opts: { removeOnComplete: true } }
        ))),

    async remaining() {
        const counts = Object.values(await queue.getJobCounts());
        return counts.reduce((sum, count) => sum + count, 0);
    },

    async startWorkers(ran) {
        const workers = Array.from({ length: WORKERS }, () =>
            new Worker(QUEUE, async (job) => ran(job.data.number), {
                connection,
                concurrency: CONCURRENCY,
            }).on("error", crash).on("failed", (_job, error) => crash(error)));
        return () => Promise.all(workers.map((worker) => worker.close()));
    },
});
await queue.obliterate();
await queue.close();
await connection.quit();

/** What Redis says about itself: its figures are no figures of a durable store unless it says so. */
async function durability(redis) {
    const [, version] = /redis_version:(\S+)/.exec(await redis.info("server"));
    const [, appendOnly] = await redis.config("GET", "appendonly");
    const [, fsync] = await redis.config("GET", "appendfsync");
    return appendOnly === "yes"
        ? `Redis ${version} with appendfsync ${fsync}`
        : `Redis ${version} without fsync: not durable`;
}
