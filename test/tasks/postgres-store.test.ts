// The PostgreSQL store passes the suite of task stores. Time passes for it when what it has kept is moved into the past.

import { createDatabase } from "millrace/database";
import { type TaskStore, postgresTaskStore } from "millrace/tasks";
import { taskStoreContract } from "millrace/testing";
import { after } from "node:test";
import { testDatabase } from "../harness/postgres.ts";
import { passTime } from "./pass-time.ts";

const scratch = await testDatabase();
const database = await createDatabase({ url: scratch.url, applicationName: "task store under test" });
after(async () => {
  await database.close();
  await scratch[Symbol.asyncDispose]();
});

taskStoreContract("postgresql", async (): Promise<TaskStore> => postgresTaskStore({ database }), {
  pass: (_store, ms) => passTime(database, ms),
  transaction: (_store, work) => database.transaction(work),
});
