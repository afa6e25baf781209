// The ledger of processes that share a Redis, on real servers. Each ledger stands for a process: they have nothing in common but Redis.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  type RedisLedger,
  type RedisLedgerOptions,
  type Stamp,
  createRedisLedger,
  hashDependencies,
  ledgerChannel,
} from "../../src/cache/index.ts";
import { createManualClock } from "../../src/core/index.ts";
import { connectRedis } from "../../src/redis/index.ts";
import { eventually } from "../harness/patience.ts";
import { type TestRedis, testRedis, testRedisCluster } from "../harness/redis.ts";

const cities = hashDependencies(["cities"]);
const reports = hashDependencies(["reports"]);

/** Long enough for a slow machine: what must be quick here is never the bound. */
const open = (server: TestRedis, options: Partial<RedisLedgerOptions> = {}) =>
  createRedisLedger({ url: server.url, staleness: "20s", ...options });

async function stampOf(ledger: RedisLedger): Promise<Stamp> {
  using reading = await ledger.begin();
  const { stamp } = reading.finish();
  assert.ok(stamp);
  return stamp;
}

suite("a ledger over Redis", () => {
  test("serves nothing and keeps nothing before the first answer", async () => {
    await using ledger = createRedisLedger({ url: "redis://127.0.0.1:1" });
    assert.equal(ledger.state, "starting");
    using reading = await ledger.begin();
    const { stamp, reason } = reading.finish();
    assert.equal(stamp, undefined);
    assert.match(reason!, /not heard from Redis/);
    assert.equal(ledger.judge({ generation: 0, upTo: 0 }, 0, cities), "feed-starting");
    await assert.rejects(ledger.settled(), { code: "MILLRACE_CACHE_LEDGER_UNAVAILABLE" });
  });

  test("an invalidation is known here when it resolves, and there when the next question is answered or news arrives", async () => {
    await using server = await testRedis();
    await using here = open(server);
    await using there = open(server);
    await here.settled();
    await there.settled();
    assert.equal(here.generation, there.generation);
    const stamp = await stampOf(here);
    assert.equal(here.judge(stamp, 0, cities), undefined);
    assert.equal(there.judge(stamp, 0, cities), undefined);
    await here.invalidate(["cities"]);
    assert.equal(here.judge(stamp, 0, cities), "written");
    assert.equal(here.judge(stamp, 0, reports), undefined);
    await there.settled();
    assert.equal(there.judge(stamp, 0, cities), "written");
    assert.equal(there.judge(stamp, 0, reports), undefined);
    const fresh = await stampOf(there);
    for (const ledger of [here, there]) assert.equal(ledger.judge(fresh, 0, cities), undefined);
    // And by news alone: the next question is five seconds away.
    await there.invalidate(["reports"]);
    await eventually("the news has arrived", () => here.judge(fresh, 0, reports) === "written", 4_000);
  });

  test("a fill that had begun before an invalidation is refused everywhere, in whichever process it ran", async () => {
    await using server = await testRedis();
    await using here = open(server);
    await using there = open(server);
    await here.settled();
    await there.settled();
    using reading = await here.begin();
    await there.invalidate(["cities"]);
    await here.settled();
    const stamp = reading.finish().stamp!;
    for (const ledger of [here, there]) assert.equal(ledger.judge(stamp, 0, cities), "written");
  });

  test("many invalidations at once are numbered once each and applied everywhere", async () => {
    await using server = await testRedis();
    await using one = open(server);
    await using two = open(server);
    await Promise.all([one.settled(), two.settled()]);
    const stamp = await stampOf(one);
    const names = Array.from({ length: 2_000 }, (_, i) => `name:${i}`);
    await Promise.all(names.map((name, i) => (i % 2 ? one : two).invalidate([name])));
    await one.invalidate(Array.from({ length: 10_000 }, (_, i) => `other:${i}`)); // in several messages
    await Promise.all([one.settled(), two.settled()]);
    for (const ledger of [one, two]) {
      for (const name of [...names, "other:0", "other:9999"]) {
        assert.equal(ledger.judge(stamp, 0, hashDependencies([name])), "written", name);
      }
      assert.equal(ledger.judge(stamp, 0, cities), undefined);
    }
  });

  test("without answers for longer than the bound nothing is served; with the next answer it is again", async () => {
    await using server = await testRedis();
    const clock = createManualClock();
    await using ledger = open(server, { staleness: "1s", clock });
    await ledger.settled();
    const stamp = await stampOf(ledger);
    await server.pause();
    clock.advance(1_000);
    assert.equal(ledger.judge(stamp, 0, cities), undefined);
    clock.advance(1);
    assert.equal(ledger.judge(stamp, 0, cities), "feed-silent");
    assert.equal(ledger.state, "silent");
    // What a fill read meanwhile may be kept: it is judged when answers come again.
    const meanwhile = await stampOf(ledger);
    server.resume();
    await ledger.settled().catch(() => ledger.settled());
    assert.equal(ledger.judge(stamp, 0, cities), undefined);
    assert.equal(ledger.judge(meanwhile, 0, cities), undefined);
  });

  test("FLUSHALL begins a new generation: nothing of before is served, not even what was never written", async () => {
    await using server = await testRedis();
    await using here = open(server);
    await using there = open(server);
    await Promise.all([here.settled(), there.settled()]);
    const stamp = await stampOf(here);
    await server.command("flushall");
    await here.invalidate(["cities"]);
    await there.settled();
    for (const ledger of [here, there]) {
      assert.equal(ledger.judge(stamp, 0, reports), "generation");
      // Another process may have filled in the new generation before it was written: the numbers say so.
      assert.equal(ledger.judge({ generation: ledger.generation, upTo: 0 }, 0, cities), "written");
    }
    assert.equal(here.generation, there.generation);
  });

  test("a process that was late to a generation trusts no entry that is older than what it knows", async () => {
    await using server = await testRedis();
    await using here = open(server);
    await here.settled();
    const early = await stampOf(here);
    await here.invalidate(["cities"]);
    await using late = open(server);
    await late.settled();
    assert.equal(late.judge(early, 0, cities), "written");
    assert.equal(late.judge(early, 0, reports), "written"); // it cannot know
    assert.equal(late.judge(await stampOf(here), 0, cities), undefined);
  });

  test("a log that was cut or evicted is a gap: everything counts as written", async () => {
    await using server = await testRedis();
    const clock = createManualClock(); // it asks only when it is told to
    await using here = open(server);
    await here.settled();
    const connection = connectRedis({ url: server.url });
    // No news: everything must come by asking.
    await using deaf = createRedisLedger({
      connection: { ...methodsOf(connection), subscribe: () => ({ close: async () => {}, [Symbol.asyncDispose]: async () => {} }) },
      staleness: "20s",
      clock,
    });
    await deaf.settled();
    const stamp = await stampOf(deaf);
    await here.invalidate(["cities"]);
    assert.equal(deaf.judge(stamp, 0, cities), undefined); // it has heard nothing
    await deaf.settled();
    assert.equal(deaf.judge(stamp, 0, cities), "written");
    assert.equal(deaf.judge(stamp, 0, reports), undefined);
    const second = await stampOf(deaf);
    await here.invalidate(["cities"]);
    await server.command("del", "millrace:{ledger}:log");
    await here.invalidate(["cities"]);
    const gap = ledgerChannel.next(({ event }) => event === "gap", AbortSignal.timeout(20_000));
    await deaf.settled();
    assert.equal((await gap).missed, 2);
    assert.equal(deaf.judge(second, 0, reports), "written");
    assert.equal(deaf.judge(await stampOf(deaf), 0, reports), undefined);
    await connection.close();
  });

  test("an invalidation that Redis did not acknowledge is refused here and repeated until it is", async () => {
    await using server = await testRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    await using here = open(server);
    await using there = open(server);
    await Promise.all([here.settled(), there.settled()]);
    await server.kill();
    const refused = await here.invalidate(["cities"]).then(
      () => assert.fail("it was acknowledged by a dead server"),
      (error: unknown) => error as { code: string; retryable: boolean },
    );
    assert.deepEqual([refused.code, refused.retryable], ["MILLRACE_CACHE_LEDGER_UNAVAILABLE", true]);
    const stamp = await stampOf(here);
    assert.equal(here.judge(stamp, 0, cities), "own-write");
    assert.equal(here.judge(stamp, 0, reports), undefined); // within the bound
    await server.start();
    await eventually("it was repeated", async () => {
      await here.settled().catch(() => {});
      return Number(await server.command("xlen", "millrace:{ledger}:log")) === 1;
    });
    await eventually("the other process has returned", () =>
      there.settled().then(
        () => true,
        () => false,
      ),
    );
    for (const ledger of [here, there]) {
      assert.equal(ledger.judge({ generation: ledger.generation, upTo: 0 }, 0, cities), "written");
      assert.equal(ledger.judge(stamp, 0, reports), "generation"); // a restart may have lost what was acknowledged
    }
  });

  test("a failover that loses acknowledged invalidations begins a new generation: what they made stale stays stale", async () => {
    await using primary = await testRedis();
    await using replica = await testRedis();
    await using before = open(primary);
    await before.settled();
    await replica.command("replicaof", "127.0.0.1", primary.port);
    await eventually("replicated", async () => (await replica.command("exists", "millrace:{ledger}:state")) === 1);
    const stamp = await stampOf(before);
    // The replica hears nothing of this one, as when the primary dies too early.
    await replica.command("replicaof", "127.0.0.1", 1);
    await before.invalidate(["cities"]);
    assert.equal(await replica.command("exists", "millrace:{ledger}:log"), 0);
    // A replica answers no question.
    await using atReplica = open(replica);
    await assert.rejects(atReplica.settled(), { code: "MILLRACE_CACHE_LEDGER_UNAVAILABLE" });
    assert.equal(atReplica.judge(stamp, 0, cities), "feed-starting");
    await replica.command("replicaof", "no", "one");
    await primary.kill();
    await eventually("the promoted one answers", () =>
      atReplica.settled().then(
        () => true,
        () => false,
      ),
    );
    assert.notEqual(atReplica.generation, stamp.generation);
    assert.equal(atReplica.judge(stamp, 0, cities), "generation");
  });

  test("a primary that was cut off from its replicas answers no question when it must have one", async () => {
    await using server = await testRedis();
    await using ledger = open(server);
    await ledger.settled();
    await server.command("config", "set", "min-replicas-to-write", 1);
    await assert.rejects(ledger.settled(), { code: "MILLRACE_CACHE_LEDGER_UNAVAILABLE", message: /NOREPLICAS/ });
  });

  test("works on a cluster, and with the connection of a store", async () => {
    await using cluster = await testRedisCluster();
    using client = cluster.client();
    await eventually("connected", () => client.status === "ready");
    const connection = connectRedis({ client });
    await using here = createRedisLedger({ connection, staleness: "20s" });
    await using there = createRedisLedger({ client, staleness: "20s" });
    await Promise.all([here.settled(), there.settled()]);
    const stamp = await stampOf(there);
    await here.invalidate(["cities"]);
    await there.settled();
    assert.equal(there.judge(stamp, 0, cities), "written");
  });

  test("a closed ledger serves nothing and leaves no timer", async () => {
    await using server = await testRedis();
    const clock = createManualClock();
    const ledger = open(server, { clock });
    await ledger.settled();
    const stamp = await stampOf(ledger);
    await ledger.close();
    assert.equal(ledger.judge(stamp, 0, cities), "feed-silent");
    await assert.rejects(ledger.invalidate(["cities"]), { code: "MILLRACE_CLOSED" });
    assert.equal(clock.pendingTimers, 0);
  });

  test("three processes, a source that changes, and a Redis that is flushed and killed: no answer is older than promised", async () => {
    await using server = await testRedis();
    const staleness = "500ms";
    const boundMs = 500;
    const ledgers = [0, 1, 2].map(() => open(server, { staleness }));
    const source = new Map<string, number>();
    /** When each version of a name was acknowledged as invalidated: from then on the one before is stale. */
    const acknowledged = new Map<string, number[]>();
    const caches = ledgers.map(() => new Map<string, { value: number; stamp: Stamp }>());
    const shared = new Map<string, { value: number; stamp: Stamp }>();
    const names = ["a", "b", "c"];
    const hashes = new Map(names.map((name) => [name, hashDependencies([name])]));
    let seed = 42;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let hits = 0;
    let stale = 0;
    const turn = () => new Promise<void>((resolve) => setTimeout(resolve, random(4)));
    const act = async (process: number): Promise<void> => {
      const ledger = ledgers[process]!;
      const name = names[random(names.length)]!;
      if (random(10) === 0) {
        const version = (source.get(name) ?? 0) + 1;
        source.set(name, version);
        try {
          await ledger.invalidate([name]);
        } catch {
          return; // nobody was promised anything
        }
        const times = acknowledged.get(name) ?? [];
        for (let older = times.length; older < version; older++) times.push(performance.now());
        acknowledged.set(name, times);
        const entry = caches[process]!.get(name);
        if (entry && ledger.judge(entry.stamp, 0, hashes.get(name)!) === undefined && entry.value < version) stale++; // its own write
        return;
      }
      const entry = random(2) ? caches[process]!.get(name) : shared.get(name);
      if (entry && ledger.judge(entry.stamp, 0, hashes.get(name)!) === undefined) {
        hits++;
        const since = acknowledged.get(name)?.[entry.value];
        if (since !== undefined && performance.now() - since > boundMs) stale++;
        return;
      }
      using reading = await ledger.begin();
      await turn();
      const value = source.get(name) ?? 0;
      await turn(); // the race: it has read, and has not stored
      const { stamp } = reading.finish();
      if (!stamp) return;
      caches[process]!.set(name, { value, stamp });
      shared.set(name, { value, stamp });
    };
    const loop = async (process: number): Promise<void> => {
      for (let i = 0; i < 400; i++) {
        await act(process);
        await turn();
      }
    };
    const disturb = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        for (let wait = 0; wait < 60; wait++) await turn();
        await server.command("flushall");
        for (let wait = 0; wait < 60; wait++) await turn();
        await server.pause();
        for (let wait = 0; wait < 30; wait++) await turn();
        server.resume();
        await server.kill();
        await server.start();
      }
    };
    await Promise.all([loop(0), loop(1), loop(2), loop(0), loop(1), loop(2), disturb()]);
    for (const ledger of ledgers) await ledger.close();
    assert.equal(stale, 0);
    assert.ok(hits > 50, `${hits} hits`);
  });
});

/** A connection's methods as values: a spread would lose those of its class. */
function methodsOf(connection: ReturnType<typeof connectRedis>) {
  return {
    server: connection.server,
    ready: true,
    whenReady: () => connection.whenReady(),
    command: connection.command.bind(connection),
    run: connection.run.bind(connection),
    close: () => connection.close(),
    [Symbol.asyncDispose]: () => connection.close(),
  };
}
