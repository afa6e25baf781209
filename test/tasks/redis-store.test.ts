// The Redis store passes the suite of task stores, alone and on a cluster. Time passes for it when what it has kept is moved into the past.

import { after, before, suite } from "node:test";
import { createDatabase, type Database } from "millrace/database";
import { redisTaskStore } from "millrace/tasks";
import { taskStoreContract } from "millrace/testing";
import { testDatabase } from "../harness/postgres.ts";
import { type TestRedis, testRedis } from "../harness/redis.ts";
import { passRedisTime } from "./redis-pass-time.ts";

suite("the contract on Redis", () => {
  let server: TestRedis;
  let scratch: AsyncDisposable & { readonly url: string };
  let database: Database;
  before(async () => {
    server = await testRedis({ settings: { appendonly: "yes" } });
    scratch = await testDatabase();
    database = await createDatabase({ url: scratch.url, applicationName: "outbox under test" });
  });
  after(async () => {
    await database.close();
    await scratch[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });
  taskStoreContract("redis", async () => redisTaskStore({ url: server.url, outbox: database, timeout: "20s" }), {
    pass: (_store, ms) => passRedisTime(server, "millrace:{tasks}", ms),
    transaction: (_store, work) => database.transaction(work),
  });
});
