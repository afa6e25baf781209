// What was written before a process began: it takes it over from those that were there, so that a shared store is of use at once, and
// never serves what nobody can judge.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { readyProcess } from "../harness/ready-process.ts";
import { testDatabase } from "../harness/postgres.ts";
import { testRedis } from "../harness/redis.ts";
import { type CacheProcess, openCacheProcess, schema } from "./cache-process.ts";
import { run, until } from "./feed-recorder.ts";

async function prepare() {
  const database = await testDatabase();
  const redis = await testRedis();
  await run(database.url, schema);
  return {
    url: database.url,
    redis: redis.url,
    async [Symbol.asyncDispose]() {
      await redis[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

const killable = (url: string, redis: string, source: string) =>
  readyProcess(new URL("./fixtures/history-process.ts", import.meta.url), url, redis, source);

const another = (city: number, id: number): string => `insert into reports values (${id}, ${city})`;

/** City 1 was not written since it was kept, so it is served; city 2 was, so it is not. */
async function assertJudges(one: CacheProcess, counts: readonly [number, number]): Promise<void> {
  const [first, second] = [await one.read(1), await one.read(2)];
  assert.deepEqual([first.state, first.tier, first.value], ["hit", "store", counts[0]], first.refusal);
  assert.deepEqual([second.state, second.value], ["miss", counts[1]]);
}

for (const source of ["logical", "triggers"] as const) {
  suite(`history, by ${source}`, () => {
    test("a process that joins serves what another one kept before, and nothing that was written in between", async () => {
      await using at = await prepare();
      await using one = await openCacheProcess(at.url, at.redis, { source });
      await one.warm();
      await run(at.url, another(2, 100));
      await using other = await openCacheProcess(at.url, at.redis, { source }, true);
      assert.equal(other.history?.taken, true);
      await assertJudges(other, [10, 11]);
    });

    test("whoever is elected next hands on what it took over", async () => {
      await using at = await prepare();
      await using first = await killable(at.url, at.redis, source);
      await using second = await openCacheProcess(at.url, at.redis, { source }, true);
      await run(at.url, another(2, 100));
      first.child.kill("SIGKILL");
      await until("the second to be elected", () => second.freshness.state.elected && second.freshness.state.state === "running");
      await second.freshness.ledger.settled();
      await using third = await openCacheProcess(at.url, at.redis, { source }, true);
      assert.equal(third.history?.taken, true);
      await assertJudges(third, [10, 11]);
    });

    test("a process that is alone goes on where it ended in order, also over what was written meanwhile", async () => {
      await using at = await prepare();
      {
        await using one = await openCacheProcess(at.url, at.redis, { source });
        await one.warm();
      }
      await run(at.url, another(2, 100));
      await using again = await openCacheProcess(at.url, at.redis, { source }, true);
      assert.equal(again.history?.taken, true);
      await until("what was written meanwhile", async () => (await again.read(2)).value === 11);
      const { state, tier, value, refusal } = await again.read(1);
      assert.deepEqual([state, tier, value], ["hit", "store", 10], refusal);
    });

    test("after a process was killed, what nobody can judge is not served", async () => {
      await using at = await prepare();
      const generation = () => run(at.url, "select generation from millrace.feed");
      let before: unknown[];
      {
        await using one = await killable(at.url, at.redis, source);
        before = await generation();
        one.child.kill("SIGKILL");
      }
      await run(at.url, another(2, 100));
      await using again = await openCacheProcess(at.url, at.redis, { source });
      assert.equal((await again.read(2)).value, 11);
      assert.equal((await again.read(1)).value, 10);
      assert.deepEqual(await generation(), before);
      assert.deepEqual(await run(at.url, "select from millrace.history"), []);
    });

    test("a dump of another generation, or from before this process began, is ignored", async () => {
      await using at = await prepare();
      {
        await using one = await openCacheProcess(at.url, at.redis, { source });
        await one.warm();
      }
      // Somebody else was elected in between, wrote nothing down, and went; nothing says what was written then.
      const [kept] = await run(at.url, "select upto::text from millrace.history");
      assert.ok(kept);
      {
        await using between = await openCacheProcess(at.url, at.redis, { source, history: false });
        await run(at.url, another(2, 100));
        await between.freshness.ledger.settled();
      }
      assert.deepEqual(await run(at.url, "select upto::text from millrace.history"), [kept]);
      await using again = await openCacheProcess(at.url, at.redis, { source });
      for (const [city, count] of [
        [2, 11],
        [1, 10],
      ] as const) {
        const { value, tier } = await again.read(city);
        assert.deepEqual([value, tier], [count, undefined]);
      }
    });
  });
}
