import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase, sql } from "millrace";
import { testServer } from "../harness/postgres.ts";
import { seattle, serve, startWeather, until } from "./harness.ts";

suite("faults", () => {
  test("killing all backends again and again under load fails no request and neither loses nor repeats a report", async () => {
    await using weather = await startWeather();
    await using killer = await createDatabase({ url: weather.databaseUrl, applicationName: "killer", pool: { pipelined: 0 } });
    const { token } = await weather.user();

    const outcomes = new Map<string, number>();
    let acknowledged = 0;
    let stop = false;
    const worker = async (number: number) => {
      for (let i = number; !stop; i++) {
        const kind = i % 4;
        const answer =
          kind === 0
            ? await weather.send("POST", "/reports", { cityId: seattle, text: `${number}/${i}`, tags: ["a", "b"] }, token)
            : await weather.get(
                kind === 1 ? `/cities/${seattle}` : kind === 2 ? `/cities/${seattle}/reports?limit=5` : "/cities?q=se&limit=5",
              );
        if (answer.status === 201) acknowledged++;
        const outcome = `${kind === 0 ? "POST" : "GET"} ${answer.status} ${String(answer.body["code"] ?? "")}`.trim();
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
    };
    const workers = Array.from({ length: 32 }, (_, number) => worker(number));

    let killed = 0;
    for (let round = 0; round < 20; round++) {
      // Of four requests one writes. Those are counted, because an answer from the cache needs no backend and takes no time.
      const target = acknowledged + 15;
      await until("the load goes on", () => acknowledged >= target);
      const { count } = await killer.one(sql<{ count: number }>`
        select count(pg_terminate_backend(pid))::int as count from pg_stat_activity
        where datname = current_database() and application_name = 'weather'`);
      killed += count;
    }
    stop = true;
    await Promise.all(workers);

    assert.ok(killed >= 20, `${killed} backends were killed`);
    assert.deepEqual([...outcomes.keys()].sort(), ["GET 200", "POST 201"], JSON.stringify([...outcomes]));
    const stored = await weather.database.one(sql<{ reports: number; texts: number; tags: number }>`
      select count(*)::int as reports, count(distinct text)::int as texts, (select count(*)::int from report_tags) as tags from reports`);
    assert.deepEqual(stored, { reports: acknowledged, texts: acknowledged, tags: 2 * acknowledged });
  });

  test("while the database is down the service says so with Retry-After, and when it is back it works again by itself", async () => {
    await using server = await testServer();
    await using weather = await serve(server.url);
    await weather.database.query(sql`insert into cities values (1, 'A', 'a', 'AA', '', 'PPL', 1, 0, 0)`);
    const { token } = await weather.user();
    const status = async (path: string) => (await weather.get(path)).status;
    assert.deepEqual([await status("/cities/1"), await status("/readyz")], [200, 200]);

    const acknowledged: number[] = [];
    const statuses = new Map<number, number>();
    let stop = false;
    const worker = async () => {
      for (let i = 0; !stop; i++) {
        const answer =
          i % 3 === 0
            ? await weather.send("POST", "/reports", { cityId: 1, text: "x" }, token)
            : await weather.get("/cities/1/reports?limit=2");
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        if (answer.status === 201) acknowledged.push(answer.body["id"] as number);
      }
    };
    const workers = Array.from({ length: 8 }, worker);
    await until("the load is on", () => acknowledged.length > 20);

    await server.stop();
    for (const path of ["/cities/1", "/cities", "/cities/1/reports"]) {
      const { status, headers, body } = await weather.get(path);
      assert.equal(status, 503, path);
      assert.match(headers.get("retry-after") ?? "", /^\d+$/);
      assert.equal(body["code"], "MILLRACE_DATABASE_UNAVAILABLE");
    }
    assert.equal((await weather.send("POST", "/sessions", { email: "a@example.org", password: "long enough" })).status, 503);
    await until("the service is not ready", async () => (await status("/readyz")) === 503);
    assert.equal(await status("/healthz"), 200);

    await server.start();
    await until("the service works again", async () => (await status("/cities/1")) === 200);
    await until("the service is ready again", async () => (await status("/readyz")) === 200);
    const before = acknowledged.length;
    await until("reports are taken again", () => acknowledged.length > before + 20);
    stop = true;
    await Promise.all(workers);
    assert.deepEqual(new Set(statuses.keys()), new Set([200, 201, 503]));
    const stored = new Set((await weather.database.many(sql<{ id: number }>`select id from reports`)).map(({ id }) => id));
    assert.deepEqual(
      acknowledged.filter((id) => !stored.has(id)),
      [],
    );
  });
});
