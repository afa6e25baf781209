// A commit that waits for a synchronous standby is in the log and not visible: the feed may bring it before anybody can read it.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createCache } from "millrace/cache";
import { createDatabase, sql } from "millrace/database";
import { createFreshness } from "millrace/freshness";
import { debianServer } from "../harness/debian-postgres.ts";
import { run, until } from "./feed-recorder.ts";
import { countOf, schema } from "./cache-process.ts";

async function openProcess(url: string, source: "logical" | "triggers") {
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, source });
  const cache = createCache({ ledger: freshness.ledger });
  await freshness.ready();
  const read = (city: number) => cache.read(`reports of ${city}`, { ttl: "10m" }, countOf(database, city));
  return {
    database,
    freshness,
    read,
    warm: (city: number) => until(`city ${city} to be kept`, async () => (await read(city)).state === "hit"),
    async [Symbol.asyncDispose]() {
      await cache.close();
      await freshness.close();
      await database.close();
    },
  };
}

for (const source of ["logical", "triggers"] as const) {
  suite(`a commit that waits for a synchronous standby, by ${source}`, () => {
    test("is served by nobody before it is visible, and by everybody after; the feed itself waits for no standby", async () => {
      await using primary = await debianServer({
        settings: { wal_level: source === "logical" ? "logical" : "replica", max_slot_wal_keep_size: "1GB" },
      });
      await run(primary.url, schema);
      await using standby = await primary.standby();
      await run(primary.url, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()");
      await until(
        "a synchronous standby",
        async () => (await run(primary.url, "select from pg_stat_replication where sync_state = 'sync'")).length === 1,
      );
      await using writer = await openProcess(primary.url, source);
      await using reader = await openProcess(primary.url, source);
      for (const one of [writer, reader]) for (const city of [1, 2]) await one.warm(city);

      const [receiver] = await run(standby.url, "select pid from pg_stat_wal_receiver");
      const pid = receiver!["pid"] as number;
      process.kill(pid, "SIGSTOP");
      let acknowledged = false;
      let written: Promise<unknown> | undefined;
      try {
        written = writer.database.query(sql`insert into reports values (100, 2)`).then(() => (acknowledged = true));
        await until(
          "the commit to wait",
          async () => (await run(primary.url, "select from pg_stat_activity where wait_event = 'SyncRep'")).length === 1,
        );
        const waiting = await run(
          primary.url,
          "select application_name as name from pg_stat_activity where wait_event = 'SyncRep'",
        );
        // Three bounds: without marks that come back, nothing would be served any more.
        const endMs = performance.now() + 3_000;
        let hits = 0;
        while (performance.now() < endMs) {
          for (const one of [writer, reader]) {
            assert.equal((await one.read(2)).value, 10, "nobody can see it yet");
            const { state, value } = await one.read(1);
            assert.equal(value, 10);
            if (state === "hit") hits++;
          }
          await sleep(20);
        }
        assert.ok(hits > 20, `${hits} hits: the feed goes on meanwhile`);
        assert.equal((await reader.read(1)).state, "hit");
        assert.equal(acknowledged, false);
        assert.equal(waiting.length, 1);
        assert.ok(!String(waiting[0]!["name"]).startsWith("millrace "), "only the writer waits");
        // A process that begins now makes its session and its marks without the standby. It keeps nothing yet: the writer was under way
        // before it began, so no message may ever tell it of that write.
        await using late = await openProcess(primary.url, source);
        const first = await late.read(2);
        assert.deepEqual([first.value, first.stored], [10, false]);
        process.kill(pid, "SIGCONT");
        await written;
        assert.equal((await writer.read(2)).value, 11, "its own write");
        const writtenMs = performance.now();
        for (const one of [reader, late]) {
          while ((await one.read(2)).value !== 11) {
            assert.ok(performance.now() - writtenMs < 20_000);
            await sleep(5);
          }
        }
        for (const one of [writer, reader, late]) {
          await one.freshness.ledger.settled();
          assert.equal((await one.read(2)).value, 11);
        }
      } finally {
        process.kill(pid, "SIGCONT");
        await written;
      }
    });
  });
}
