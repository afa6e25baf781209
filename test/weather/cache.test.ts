// Every read endpoint of the service is cached without naming anything, and answers as it does without a cache. What is followed here is
// the database as a whole; what the real ledger finds out, statement by statement, is tested in test/freshness.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type Cache, createCache, createDatabase, migrate } from "millrace";
import { createWeather } from "../../examples/weather/src/app.ts";
import { seed } from "../../examples/weather/src/seed/seed.ts";
import { testDatabase } from "../harness/postgres.ts";
import { createFollowingLedger } from "../http/following-ledger.ts";
import { type Answer, type Client, clientOf, migrationsDirectory, seattle } from "./harness.ts";

const statusOf = ({ headers }: Answer<unknown>): string => headers.get("cache-status")!;

suite("the cached service", () => {
  const ledger = createFollowingLedger();
  const disposables = new AsyncDisposableStack();
  let cached: Client;
  let plain: Client;
  let cache: Cache;
  before(async () => {
    const { url, ...disposable } = await testDatabase();
    disposables.use(disposable);
    const database = disposables.use(await createDatabase({ url, applicationName: "weather" }));
    await migrate(database, { directory: migrationsDirectory });
    await seed(database, () => {});
    disposables.use(database.pool.observe({ onStatement: () => void ledger.reads("database") }));
    cache = disposables.use(createCache({ ledger, earlyRefresh: 0 }));
    const serve = async (given: Cache | false): Promise<Client> => {
      const app = disposables.use(createWeather({ database, cache: given, logger: false, checkResponses: true }));
      return clientOf(await app.listen({ port: 0 }));
    };
    cached = await serve(cache);
    plain = await serve(false);
  });
  after(() => disposables.disposeAsync());

  test("every read endpoint is a hit at the second request, and says what it says without a cache", async () => {
    const { token } = await plain.user();
    const { body: report } = await plain.send<{ id: number }>(
      "POST",
      "/reports",
      { cityId: seattle, text: "Rain.", tags: ["wet"] },
      token,
    );
    await plain.send("POST", `/reports/${report.id}/comments`, { text: "Indeed." }, token);
    for (const path of [
      "/cities?limit=3",
      "/cities?q=sao+p&limit=3",
      "/cities?country=br&limit=3",
      `/cities/${seattle}`,
      "/cities/1",
      `/cities/${seattle}/observations?from=2015-12-24&to=2015-12-26`,
      `/cities/${seattle}/normals?limit=24`,
      `/cities/${seattle}/reports`,
      `/reports/${report.id}`,
      `/reports/${report.id}/comments`,
      "/reports/2147483647/comments",
    ]) {
      const [first, second, uncached] = [await cached.get(path), await cached.get(path), await plain.get(path)];
      assert.match(statusOf(first), /^millrace; fwd=uri-miss; stored/, path);
      assert.match(statusOf(second), /^millrace; hit/, path);
      assert.equal(second.status, uncached.status, path);
      const { requestId: _id, ...body } = second.body;
      const { requestId: _otherId, ...uncachedBody } = uncached.body;
      assert.deepEqual(body, uncachedBody, path);
      assert.equal(second.headers.get("link"), uncached.headers.get("link"), path);
    }
  });

  test("what is one user's or a stream goes past the cache", async () => {
    const { token } = await cached.user();
    const me = await cached.get("/me", token);
    assert.equal(statusOf(me), "millrace; fwd=bypass; detail=off");
    assert.equal(me.headers.get("cache-control"), "no-store");
    assert.equal(statusOf(await cached.get(`/observations/export?cityId=${seattle}`)), "millrace; fwd=bypass; detail=stream");
  });

  test("a list that was empty shows the report that was written", async () => {
    const path = "/cities/5128581/reports";
    const { token } = await plain.user();
    assert.deepEqual((await cached.get<{ data: unknown[] }>(path)).body.data, []);
    await plain.send<{ id: number }>("POST", "/reports", { cityId: 5128581, text: "Snow." }, token);
    await cache.invalidate("database");
    const { body, headers } = await cached.get<{ data: { text: string }[] }>(path);
    assert.equal(body.data[0]!.text, "Snow.");
    assert.match(headers.get("cache-status")!, /fwd=stale/);
  });
});
