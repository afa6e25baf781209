// An app behind a CDN: what the cache keeps is kept there, until a commit in PostgreSQL ends it in both places.

import assert from "node:assert/strict";
import { Agent, type RequestOptions } from "node:http";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Type } from "typebox";
import { createCache, createLocalLedger } from "../../src/cache/index.ts";
import { createCdn, fastly, fastlyDialect } from "../../src/cdn/index.ts";
import { createManualClock } from "../../src/core/index.ts";
import { createDatabase, sql } from "../../src/database/index.ts";
import { createFreshness } from "../../src/freshness/index.ts";
import { createApp, endpoint } from "../../src/http/index.ts";
import { testDatabase } from "../harness/postgres.ts";
import { send } from "../http/client.ts";
import { startCachingCdn } from "./caching-cdn.ts";

/** Patience with a loaded machine; nothing is asserted of how long something took. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!(await holds())) {
    assert.ok(performance.now() < endMs, what);
    await setTimeout(10);
  }
}

const getCity = endpoint("GET /cities/:id", { params: { id: Type.Integer() } }, async ({ db, params }) =>
  db.one<{ name: string }>(sql`select name from cities where id = ${params.id}`),
);

async function start(t: TestContext) {
  const disposables = new AsyncDisposableStack();
  t.after(() => disposables.disposeAsync());
  const scratch = disposables.use(await testDatabase());
  const database = disposables.use(await createDatabase({ url: scratch.url }));
  await database.query(sql`create table cities (id int primary key, name text not null)`);
  await database.query(sql`insert into cities values (1, 'Ur'), (2, 'Uruk')`);
  const freshness = disposables.use(await createFreshness({ database }));
  const cache = disposables.use(createCache({ ledger: freshness.ledger }));
  await freshness.ready();
  const clock = createManualClock();
  let url = "";
  const edge = disposables.use(await startCachingCdn(() => url));
  // #region app
  const adapter = fastly({ service: "s", token: "t", api: edge.url, upstream: { allowPrivate: ["127.0.0.1"] } });
  const cdn = disposables.use(createCdn({ adapters: [adapter], bound: "1s", clock }));
  const app = disposables.use(createApp({ endpoints: [getCity], database, cache, cdn, logger: false }));
  // #endregion
  url = await app.listen({ port: 0 });
  const ask = async (id: number) => (await send(`${edge.url}/cities/${id}`)).text;
  // The first answers make the feed follow the table; until then they are not kept.
  for (const id of [1, 2])
    await until("kept at the edge", async () => {
      await ask(id);
      return edge.kept.has(`/cities/${id}`);
    });
  const rename = (id: number, name: string) => database.query(sql`update cities set name = ${name} where id = ${id}`);
  const waiting = () => cdn.stats()[0]!.waiting;
  const purges = () => cdn.stats()[0]!.purges;
  return { app, clock, edge, cdn, url, ask, rename, waiting, purges };
}

test("a write purges what was read from it, and nothing else; hits of the fast lane carry the same fields", async (t) => {
  const { app, clock, edge, url, ask, rename, waiting } = await start(t);
  // On a machine that stalls the cache may not be sure for a moment that nothing was written.
  const hit = async (options: RequestOptions = {}) => {
    let answer = await send(`${url}/cities/1`, options);
    await until("a hit", async () => {
      if (String(answer.headers["cache-status"]).includes("; hit;")) return true;
      answer = await send(`${url}/cities/1`, options);
      return false;
    });
    return answer;
  };
  const [first, second] = [await hit(), await hit()];
  assert.match(String(first.headers["surrogate-control"]), /^max-age=\d+$/);
  assert.ok(Number(/\d+/.exec(String(first.headers["surrogate-control"]))![0]) >= 50);
  assert.deepEqual(second.headers["surrogate-key"], first.headers["surrogate-key"]);
  const etag = String(first.headers["etag"]);
  const same = await hit({ headers: { "if-none-match": etag } });
  assert.deepEqual([same.status, same.headers["surrogate-key"]], [304, first.headers["surrogate-key"]]);
  // Over one connection the lane answers from the second request on; it may still be checking Node when the first come.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  await until("the lane has answered", async () => {
    assert.equal((await hit({ agent })).headers["surrogate-key"], first.headers["surrogate-key"]);
    return app.fastLane!.counts.answered > 0;
  });

  await rename(1, "Eridu");
  await until("the purge waits", () => waiting() > 0);
  clock.advance(50);
  await until("it is purged", () => !edge.kept.has("/cities/1"));
  assert.ok(edge.kept.has("/cities/2"));
  assert.match(await ask(1), /Eridu/);
});

test("what the edge had begun to fetch before the purge, and kept after it, is ended by the second purge", async (t) => {
  const { clock, edge, ask, rename, waiting, purges } = await start(t);
  await rename(1, "Kish");
  await until("both purges, of no interest here", () => {
    clock.advance(1_000);
    return purges() >= 2;
  });
  assert.ok(!edge.kept.has("/cities/1"));

  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  const { promise: fetched, resolve: onFetched } = Promise.withResolvers<void>();
  edge.beforeStore = async () => {
    onFetched();
    await opened;
  };
  const slow = ask(1);
  await fetched; // the edge has the old answer in its hands
  await rename(1, "Lagash");
  await until("the purge waits", () => waiting() > 0);
  clock.advance(50);
  await until("the first purge is through", () => purges() >= 3);
  edge.beforeStore = async () => {};
  open();
  assert.match(await slow, /Kish/);
  assert.match(edge.kept.get("/cities/1")!.body, /Kish/); // what a single purge would have left there
  await until("the second purge", () => {
    clock.advance(1_000);
    return !edge.kept.has("/cities/1");
  });
  assert.match(await ask(1), /Lagash/);
});

test("a purge that fails is tried until it is taken, and is seen to fail", async (t) => {
  const { clock, edge, cdn, rename, waiting } = await start(t);
  edge.down = true;
  await rename(2, "Nippur");
  await until("the purge waits", () => waiting() > 0);
  clock.advance(50);
  await until("it has failed", () => cdn.stats()[0]!.failures > 0);
  assert.match(cdn.stats()[0]!.lastError!, /503/);
  assert.ok(edge.kept.has("/cities/2") && waiting() > 0);
  edge.down = false;
  await until("it is taken", () => {
    clock.advance(1_000);
    return !edge.kept.has("/cities/2");
  });
  await until("no failure any more", () => cdn.stats()[0]!.failures === 0);
});

test("what is not kept, differs by headers, is for one alone, or has more keys than fit is not to be stored", async (t) => {
  const adapter = {
    name: "small",
    dialect: { ...fastlyDialect, mostKeys: 8 },
    mostKeys: 10,
    purge: async () => {},
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  const disposables = new AsyncDisposableStack();
  t.after(() => disposables.disposeAsync());
  const cache = disposables.use(createCache({ ledger: createLocalLedger() }));
  const cdn = disposables.use(createCdn({ adapters: [adapter], gather: "0s", bound: "0s" }));
  const made = (route: `GET /${string}`, policy: object) => endpoint(route as "GET /x", policy, () => ({ x: 1 }));
  const app = disposables.use(
    createApp({
      endpoints: [
        made("GET /few", { cache: { ttl: "1m", depends: ["a", "b"] } }),
        made("GET /many", { cache: { ttl: "1m", depends: ["a", "b", "c", "d", "e", "f", "g", "h"] } }),
        made("GET /unkept", {}),
        made("GET /varies", { cache: { ttl: "1m", vary: ["accept-language"] } }),
        made("GET /private", { cache: { ttl: "1m", cacheControl: "private, no-cache" } }),
      ],
      cache,
      cdn,
      logger: false,
    }),
  );
  const url = await app.listen({ port: 0 });
  const fieldsOf = async (path: string) => {
    const { headers } = await send(url + path);
    return [headers["surrogate-control"], String(headers["surrogate-key"] ?? "").split(" ").length];
  };
  for (const time of ["made", "hit", "hit again"]) {
    const [control, keys] = await fieldsOf("/few");
    assert.ok(
      /^max-age=(?:5[5-9]|6\d)$/.test(String(control)) && Number(keys) > 3,
      `${time}: ${String(control)}, ${String(keys)} keys`,
    );
    assert.deepEqual(await fieldsOf("/many"), ["no-store", 1], time);
    assert.deepEqual(await fieldsOf("/unkept"), ["no-store", 1], time);
    assert.deepEqual(await fieldsOf("/varies"), ["no-store", 1], time);
    assert.deepEqual(await fieldsOf("/private"), [undefined, 1], time);
  }
  // An invalidation by name is a write, too.
  await cache.invalidate("a");
  await cdn.idle();
  assert.equal(cdn.stats()[0]!.purges, 2);
});
