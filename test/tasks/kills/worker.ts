// A worker that will be killed. It writes down what it does before it does the next thing, with writes that the kernel has when it dies.

import { appendFileSync } from "node:fs";
import { createDatabase } from "millrace/database";
import { type TaskStore, createTasks, postgresTaskStore, redisTaskStore, task } from "millrace/tasks";
import type { TaskEvent } from "millrace/testing";
import { pino } from "pino";
import { Type } from "typebox";
import { type KillWorkerConfig, killQueue } from "./messages.ts";

const config = JSON.parse(process.argv[2]!) as KillWorkerConfig;
const note = (...events: readonly TaskEvent[]): void =>
  appendFileSync(config.log, events.map((event) => `${JSON.stringify(event)}\n`).join(""));

/** The lease under which this process has a task at the moment. */
const leases = new Map<string, string>();

/** The store, with what it says about leases and settlements written down. */
function watched(store: TaskStore): TaskStore {
  return Object.assign(Object.create(store) as TaskStore, {
    name: store.name,
    fetch: async (...args: Parameters<TaskStore["fetch"]>) => {
      const claimed = await store.fetch(...args);
      for (const { id, lease } of claimed) leases.set(id, lease);
      return claimed;
    },
    settle: async (settlements: Parameters<TaskStore["settle"]>[0]) => {
      const say = (answers: readonly ("settled" | "fenced" | "unknown")[]) =>
        note(
          ...settlements.map(({ kind, task: { id, attempt, lease } }, i): TaskEvent => ({
            kind: "settled",
            id,
            attempt,
            lease,
            as: kind,
            answer: answers[i]!,
          })),
        );
      try {
        const answers = await store.settle(settlements);
        say(answers);
        return answers;
      } catch (error) {
        say(settlements.map(() => "unknown"));
        throw error;
      }
    },
    setup: () => store.setup(),
    extend: (...args: Parameters<TaskStore["extend"]>) => store.extend(...args),
    saveProgress: (...args: Parameters<TaskStore["saveProgress"]>) => store.saveProgress(...args),
    recover: (...args: Parameters<TaskStore["recover"]>) => store.recover(...args),
    nextDue: (...args: Parameters<TaskStore["nextDue"]>) => store.nextDue(...args),
    subscribe: (...args: Parameters<TaskStore["subscribe"]>) => store.subscribe(...args),
    cleanUp: (...args: Parameters<TaskStore["cleanUp"]>) => store.cleanUp(...args),
  });
}

const grind = task(
  "grind",
  {
    input: Type.Object({ ms: Type.Number(), fails: Type.Boolean() }),
    queue: killQueue,
    retry: { attempts: 1_000, base: "1ms", max: "20ms" },
    keep: "1h",
  },
  async ({ input, id, attempt }) => {
    note({ kind: "started", id, attempt, lease: leases.get(id)! });
    await new Promise((resolve) => setTimeout(resolve, input.ms));
    if (input.fails && attempt === 1) throw new Error("as asked");
  },
);

const database =
  config.store === "postgresql" ? await createDatabase({ url: config.url, applicationName: "kills worker" }) : undefined;
const store = database ? postgresTaskStore({ database }) : redisTaskStore({ url: config.url });
const tasks = await createTasks({
  ...(database && { database }),
  store: watched(store),
  tasks: [grind],
  concurrency: 8,
  lease: config.lease,
  logger: pino({ level: "silent" }),
});
await tasks.start();
process.stdout.write("ready\n");
process.stdin.resume();
process.stdin.once("end", () => {
  void tasks
    .close()
    .then(() => store.close())
    .then(() => database?.close())
    .then(() => process.exit());
});
