// PostgreSQL as the target of a run of kills, and the faults that can be planted in it.

import { type Database, sql } from "millrace/database";
import { postgresTaskStore } from "millrace/tasks";
import { eventually } from "../../harness/patience.ts";
import type { KillTarget } from "./run.ts";

/** `plant`: a task that waits disappears, or one that has ended is there again. */
export function postgresTarget(url: string, database: Database, plant?: "lost" | "twice"): KillTarget & AsyncDisposable {
  const own = postgresTaskStore({ database });
  return {
    store: "postgresql",
    url,
    own,
    async cutConnections() {
      await database.query(sql`
        select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`);
    },
    ...(plant && {
      plant: () =>
        eventually("a task that the fault can be planted in", async () => {
          const { rowCount } = await database.query(
            plant === "lost"
              ? sql`
                delete from millrace.tasks where id = (
                  select id from millrace.tasks where state = 'w' and attempt = 0 limit 1 for update skip locked)`
              : sql`
                with back as (
                  delete from millrace.finished_tasks where id = (
                    select id from millrace.finished_tasks where state = 'c' and attempt = 1 limit 1)
                  returning id, queue, name, input, priority)
                insert into millrace.tasks (id, queue, name, input, priority, due_at)
                select id, queue, name, input, priority, now() from back`,
          );
          return rowCount === 1;
        }).then(() => {}),
    }),
    [Symbol.asyncDispose]: () => own.close(),
  };
}
