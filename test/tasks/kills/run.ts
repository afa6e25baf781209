// Workers that are killed with SIGKILL, and connections that are cut, while tasks are enqueued and run; then every task's history is judged:
// none lost, none settled twice, and no more repeated than were in flight when their worker was killed. docs/task-stores.md says what it
// shows. Shared by the tests (small) and by `npm run bench -- tasks-kills`.

import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { NewTask, TaskStore } from "millrace/tasks";
import { type HistoryVerdict, type TaskEvent, judgeHistory } from "millrace/testing";
import { readyProcess } from "../../harness/ready-process.ts";
import { type KillWorkerConfig, killQueue } from "./messages.ts";

/** A store's server as the run needs it. */
export interface KillTarget {
  readonly store: KillWorkerConfig["store"];
  readonly url: string;
  /** A store of this process, to enqueue and to look. */
  readonly own: TaskStore;
  /** Ends every connection that workers and enqueuers have. */
  cutConnections(): Promise<void>;
  /** A fault that the judge must find: called once, early: while there is a backlog. */
  plant?(): Promise<void>;
}

export interface KillRunOptions {
  readonly tasks: number;
  readonly workers: number;
  readonly kills: number;
  readonly cuts: number;
  readonly lease: `${number}s`;
  /** For the whole run. */
  readonly boundMs: number;
  readonly onProgress?: (text: string) => void;
}

export interface KillRunResult extends HistoryVerdict {
  readonly kills: number;
  readonly cuts: number;
  /** Attempts that had begun and were not settled when their process was killed. */
  readonly inFlightAtKills: number;
  /** Attempts of processes that live, whose lease was lost nevertheless. */
  readonly lostLeases: number;
  readonly seconds: number;
}

let ids = 0;
const newId = (): string =>
  `${Date.now()
    .toString(16)
    .padStart(12, "0")
    .replace(/^(.{8})/, "$1-")}-7${(ids++ & 0xfff).toString(16).padStart(3, "0")}-8000-${Math.floor(Math.random() * 2 ** 48)
    .toString(16)
    .padStart(12, "0")}`;

export async function runKills(target: KillTarget, options: KillRunOptions): Promise<KillRunResult> {
  const startedMs = performance.now();
  const leftMs = () => options.boundMs - (performance.now() - startedMs);
  const directory = await mkdtemp(join(tmpdir(), "millrace-kills-"));
  const { own } = target;
  await own.setup();
  const events: TaskEvent[] = [];
  const killedLogs = new Set<string>();
  let logs = 0;
  const startWorker = async () => {
    const log = join(directory, `${++logs}.jsonl`);
    const config: KillWorkerConfig = { store: target.store, url: target.url, log, lease: options.lease };
    return { log, worker: await readyProcess(new URL("worker.ts", import.meta.url), JSON.stringify(config)) };
  };
  const workers = await Promise.all(Array.from({ length: options.workers }, startWorker));
  let stopped = false;
  try {
    let enqueued = 0;
    /** Until the store has said yes: a batch whose answer was lost is handed in again, with the same ids. */
    const enqueueAll = async (): Promise<void> => {
      while (enqueued < options.tasks) {
        const batch = Array.from({ length: Math.min(50, options.tasks - enqueued) }, (_, i): NewTask => ({
          id: newId(),
          queue: killQueue,
          name: "grind",
          input: JSON.stringify({ ms: (i * 7) % 20, fails: i % 20 === 0 }),
          priority: (i % 4) as 0 | 1 | 2 | 3,
          ...(i % 10 === 3 && { concurrency: { key: `key-${i % 3}`, max: 4 } }),
        }));
        for (;;) {
          if (stopped) return;
          try {
            await own.enqueue({ tasks: batch });
            break;
          } catch {
            await sleep(50);
          }
        }
        for (const { id } of batch) events.push({ kind: "enqueued", id });
        enqueued += batch.length;
        // Not all at once: every kill is to find work in flight, and every cut somebody who enqueues.
        while (!stopped && enqueued > (options.tasks * (struck + 1.5)) / (strikes.length + 1)) await sleep(10);
      }
    };
    /** How many have ended. */
    const through = async (): Promise<number> => {
      for (;;) {
        try {
          const state = (await own.queues()).find(({ queue }) => queue === killQueue);
          return enqueued - (state ? state.waiting + state.delayed + state.active : 0);
        } catch (error) {
          if (leftMs() < 0) throw error;
          await sleep(50);
        }
      }
    };
    const strikes = [
      ...Array.from({ length: options.kills }, (_, i) => ({ at: (i + 0.5) / options.kills, what: "kill" as const })),
      ...Array.from({ length: options.cuts }, (_, i) => ({ at: (i + 0.5) / options.cuts, what: "cut" as const })),
      ...(target.plant ? [{ at: 0.05, what: "plant" as const }] : []),
    ].toSorted((a, b) => a.at - b.at);
    let struck = 0;
    const enqueuing = enqueueAll();
    let next = 0;
    for (const [i, { at, what }] of strikes.entries()) {
      for (;;) {
        const done = await through();
        options.onProgress?.(`${done} of ${options.tasks} tasks, ${i} of ${strikes.length} strikes`);
        if (done >= at * options.tasks * 0.9) break;
        if (leftMs() < 0) throw new Error(`The run took too long: ${done} of ${options.tasks} tasks after ${i} strikes.`);
        await sleep(20);
      }
      if (what === "cut") await target.cutConnections();
      else if (what === "plant") await target.plant!();
      else {
        const victim = workers[next++ % workers.length]!;
        killedLogs.add(victim.log);
        await victim.worker[Symbol.asyncDispose]();
        Object.assign(victim, await startWorker());
      }
      struck++;
    }
    struck = Infinity;
    while (enqueued < options.tasks || (await through()) < enqueued) {
      if (leftMs() < 0) break;
      await sleep(100);
    }
    stopped = true;
    await enqueuing;
    await sleep(200); // the last answers are written down
  } finally {
    stopped = true;
    for (const { worker } of workers) await worker[Symbol.asyncDispose]();
  }

  let inFlightAtKills = 0;
  let lostLeases = 0;
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const open = new Set<string>();
    for (const line of (await readFile(path, "utf8")).split("\n")) {
      if (line === "") continue;
      let event: TaskEvent;
      try {
        event = JSON.parse(line) as TaskEvent;
      } catch {
        continue; // cut off by the kill
      }
      events.push(event);
      if (event.kind === "started") open.add(`${event.id} ${event.lease}`);
      else if (event.kind === "settled" && event.answer === "settled") open.delete(`${event.id} ${event.lease}`);
    }
    if (killedLogs.has(path)) inFlightAtKills += open.size;
    else lostLeases += open.size;
  }
  await rm(directory, { recursive: true });
  for (let before: string | undefined; ;) {
    const page = await own.list({ queue: killQueue, before, limit: 1_000 });
    for (const { id, state } of page) events.push({ kind: "found", id, state });
    before = page.at(-1)?.id;
    if (page.length < 1_000) break;
  }
  const { kills, cuts } = options;
  return { ...judgeHistory(events), kills, cuts, inFlightAtKills, lostLeases, seconds: (performance.now() - startedMs) / 1_000 };
}
