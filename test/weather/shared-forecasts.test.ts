// Forecasts of several processes over one Redis: what a worker has fetched ahead is found by all of them, with its true age, also by one that
// has never asked for it, and also when the API that makes them is down.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, suite, test } from "node:test";
import { promisify } from "node:util";
import { type Database, createDatabase, createTasks, sql } from "millrace";
import { startSimulator } from "../../examples/weather/src/simulator/simulator.ts";
import { refreshTask } from "../../examples/weather/src/forecasts/refresh.ts";
import { eventually } from "../harness/patience.ts";
import { testDatabase } from "../harness/postgres.ts";
import { type TestRedis, testRedis } from "../harness/redis.ts";
import { type Answer, type Client, newYork, seattle, until } from "./harness.ts";
import { startProgram } from "./program.ts";

const bin = join(import.meta.dirname, "../../src/cli/bin.ts");
const tasksModule = join(import.meta.dirname, "../../examples/weather/src/tasks.ts");
const flags = ["--conditions=millrace-source", bin];

interface Forecast {
  readonly fetchedAt: string;
  readonly ageSeconds: number;
  readonly state: string;
}

interface Asked {
  readonly process: string;
  readonly answer: readonly { readonly cache: string; readonly [field: string]: unknown }[];
}

const statusOf = ({ headers }: Answer<unknown>): string => headers.get("cache-status")!;
const ageOf = ({ headers }: Answer<unknown>): number => Number(headers.get("age") ?? 0);

/** `millrace worker` on the service's tasks, up. */
async function startWorker(env: Readonly<Record<string, string>>): Promise<AsyncDisposable> {
  const child = spawn(process.execPath, [...flags, "worker", tasksModule, "--database-url", env["DATABASE_URL"]!], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const { promise: up, resolve, reject } = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (line.includes("The worker is up.")) resolve();
  });
  void ended.then(([code]) => reject(new Error(`The worker ended with ${String(code)}.`)));
  await up;
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const [code] = (await ended) as [number | null];
      assert.equal(code, 0, "what the tasks have opened is closed, and the worker ends by itself");
    },
  };
}

suite("forecasts of several processes", () => {
  const stack = new AsyncDisposableStack();
  let simulator: Awaited<ReturnType<typeof startSimulator>>;
  let redis: TestRedis;
  let database: Database;
  let env: Readonly<Record<string, string>>;
  let service: Client;
  before(async () => {
    simulator = stack.use(await startSimulator());
    redis = stack.use(await testRedis());
    const { url } = stack.use(await testDatabase());
    env = { DATABASE_URL: url, REDIS_URL: redis.url, WEATHER_URL: simulator.url };
    service = await stack.use(startProgram({ ...env, WORKERS: "0" })).up;
    database = stack.use(await createDatabase({ url }));
  });
  after(() => stack.disposeAsync());

  /** Has a worker refresh the forecasts of these cities. */
  async function refresh(...cities: readonly number[]): Promise<unknown> {
    await database.query(sql`truncate city_reads`);
    await database.query(sql`insert into city_reads select current_date, id, 1 from unnest(${cities}::int[]) id`);
    const never = () => Promise.reject(new Error("this process only enqueues"));
    const task = refreshTask({ source: "none", read: never });
    await using tasks = await createTasks({ database, tasks: [task], logger: { level: "silent" } });
    return await tasks.result(await task.enqueue(undefined, { in: tasks }), { timeout: "30s" });
  }

  const forecastOf = (cityId: number, from = service) => from.get<Forecast>(`/cities/${cityId}/forecast`);
  const ask = async (...question: readonly string[]) => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...[...flags, "cache", ...question],
      ...["--database-url", env["DATABASE_URL"]!, "--json"],
    ]);
    return (JSON.parse(stdout) as Asked[])[0]!.answer;
  };

  // A Redis that does not answer within 25 ms is passed by, which a busy machine brings about: then another city shows it.
  test("a refresh by a worker warms the service, and the command line shows where it stands", async () => {
    await using _worker = await startWorker(env);
    const cities = await database.many(sql<{ id: number; key: string }>`
      select id, 'forecast:' || round(latitude::numeric, 2)::float8 || ',' || round(longitude::numeric, 2)::float8 as key
      from cities order by population desc limit 30`);
    const warmed = await eventually("one that was refreshed is in the store", async () => {
      const { id, key } = cities.pop()!;
      assert.deepEqual(await refresh(id), { cities: 1, failed: 0 });
      const held = (await ask("why", key)).filter(({ cache, tiers }) => cache === "forecasts" && String(tiers) === "store");
      if (held.length === 0) return false;
      assert.equal(held[0]!["verdict"], "hit");
      const { asked } = simulator.counts;
      const answer = await forecastOf(id);
      return simulator.counts.asked === asked && answer;
    });
    assert.deepEqual([warmed.status, warmed.body.state], [200, "fresh"]);
    assert.match(statusOf(warmed), /^forecasts; hit; ttl=\d+/);
    const made = Date.parse(warmed.body.fetchedAt);
    assert.ok(Math.abs(ageOf(warmed) - (Date.now() - made) / 1_000) < 10, `${ageOf(warmed)} s since ${warmed.body.fetchedAt}`);
    assert.equal(ageOf(warmed), warmed.body.ageSeconds);

    const stats = await ask("stats");
    assert.deepEqual(
      stats.map(({ cache, store }) => [cache, (store as { readonly name: string }).name]),
      [
        ["cache", "redis"],
        ["forecasts", "redis"],
      ],
    );
    assert.ok(Number(stats[1]!["storeHits"]) >= 1);
  });

  test("with the API down, a process that has never asked serves what another has fetched, and says how old it is", async () => {
    await using other = startProgram({ ...env, WORKERS: "0", FORECAST_TTL: "1s" });
    const ofOther = await other.up;
    const { fetchedAt } = await eventually("it is in Redis", async () => {
      const { body } = await forecastOf(seattle, ofOther);
      return ((await redis.command("keys", "*forecast:47.61,-122.33*")) as string[]).length > 0 && body;
    });
    await using third = startProgram({ ...env, WORKERS: "0", FORECAST_TTL: "1s" });
    const ofThird = await third.up;
    simulator.disturb({ outage: true });
    await until("its time is over", () => Date.now() - Date.parse(fetchedAt) > 2_100);
    const old = await eventually("it is found", async () => {
      const answer = await forecastOf(seattle, ofThird);
      return answer.status === 200 && answer;
    });
    // The other may have fetched it once more, in the last second of its time.
    assert.equal(old.body.state, "stale");
    assert.ok(old.body.fetchedAt >= fetchedAt);
    const ageMs = Date.now() - Date.parse(old.body.fetchedAt);
    assert.ok(ageOf(old) >= 1 && ageOf(old) <= ageMs / 1_000 + 1, `${ageOf(old)} s, ${ageMs} ms`);
    assert.equal(ageOf(old), old.body.ageSeconds);
    assert.match(statusOf(old), /^forecasts; hit; ttl=-\d+; detail=/);
    simulator.disturb({});
  });

  test("without Redis each process goes on with its own memory, and with the API", async () => {
    await forecastOf(newYork);
    await redis.kill();
    const kept = await forecastOf(newYork);
    assert.deepEqual([kept.status, kept.body.state], [200, "fresh"]);
    assert.match(statusOf(kept), /^forecasts; hit/);
    const capeTown = 3369157;
    assert.match(statusOf(await forecastOf(capeTown)), /^forecasts; fwd=uri-miss; stored/);
  });
});
