// Tasks in Redis 6 or newer: scripts of the kit's own (scripts.ts) over the keys of lua.ts, and this, the contract on top of them. See
// docs/task-stores.md, and docs/decisions/tasks-redis.md for why it is not BullMQ.

import { randomBytes } from "node:crypto";
import { type Closeable, coreErrors, createLifecycle, resolveOptions } from "../../core/index.ts";
import {
  type RedisArgument,
  type RedisConnection,
  type RedisScript,
  connectRedis,
  redisErrors,
  taggedKey,
} from "../../redis/index.ts";
import { tasksErrors } from "../errors.ts";
import { storeUnavailable } from "../store-failure.ts";
import type {
  CancelOutcome,
  ClaimedTask,
  DeadFilter,
  EnqueueBatch,
  EnqueueOptions,
  EnqueueOutcome,
  FetchDemand,
  FetchOptions,
  GroupResult,
  LeaseState,
  NewTask,
  QueueState,
  RecoveredTask,
  SettleOutcome,
  Settlement,
  StoreEvent,
  TaskFilter,
  TaskLease,
  TaskRecord,
  TaskStore,
} from "../store.ts";
import {
  claimedOf,
  enqueueArguments,
  flatBatch,
  flatTask,
  groupResultOf,
  recordOf,
  relayArguments,
  stateCodes,
  textOf,
} from "./encoding.ts";
import { Events } from "./events.ts";
import { type RedisTaskStoreOptions, redisTaskStoreChecks, redisTaskStoreDefaults } from "./options.ts";
import { Outbox, type OutboxRow } from "./outbox.ts";
import * as scripts from "./scripts.ts";
import { checkServer } from "./server-check.ts";

/** Tasks that one script looks at for a list: a millisecond or two, in which the server does nothing else. */
const tasksPerLook = 500;

/** Settlements, leases and the like per script, for the same reason. */
const perScript = 1_000;

const stalled = JSON.stringify({ name: "Stalled", message: "Its worker died or fell silent." });

const newestFirst = (a: string, b: string): number => (a < b ? 1 : -1);

const isTaskId = (id: string): boolean => /^[\da-f-]{36}$/i.test(id);

/** What a server says that works but does not take writes now: memory or disk is full. */
const full = /^(?:OOM|MISCONF)\b/;

/** The contract's error where the server could not, now; what it refuses for good, an error in a script for one, stays what it is. */
function translated(operation: string, error: unknown): unknown {
  if (redisErrors.is(error, "MILLRACE_REDIS_UNAVAILABLE")) return storeUnavailable("redis", operation, error);
  const said = redisErrors.is(error, "MILLRACE_REDIS_REFUSED") ? String(error.details["reason"]) : "";
  if (!full.test(said)) return error;
  const reason = said.startsWith("OOM")
    ? "it is full (maxmemory is reached): it takes no new tasks, and workers go on with those that it has."
    : "it cannot save to its disk, and therefore takes no writes (stop-writes-on-bgsave-error).";
  return storeUnavailable("redis", operation, new Error(reason, { cause: error }));
}

/** `items` in parts of at most `size`, what `work` says of each put together in their order. */
async function inParts<Item, Result>(
  items: readonly Item[],
  size: number,
  work: (part: readonly Item[]) => Promise<readonly Result[]>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let i = 0; i < items.length; i += size) results.push(...(await work(items.slice(i, i + size))));
  return results;
}

class RedisTaskStore implements TaskStore {
  readonly name = "redis";
  readonly #connection: RedisConnection;
  readonly #base: string;
  readonly #events: Events;
  readonly #outbox: Outbox | undefined;
  readonly #lifecycle = createLifecycle("the task store");

  constructor(given: RedisTaskStoreOptions) {
    const options = resolveOptions<RedisTaskStoreOptions, typeof redisTaskStoreChecks>(
      "redisTaskStore",
      given,
      redisTaskStoreDefaults,
      redisTaskStoreChecks,
    );
    if (options.connection && (options.url !== undefined || options.client !== undefined)) {
      throw coreErrors.create("MILLRACE_OPTION_INVALID", {
        subject: "redisTaskStore",
        option: "connection",
        value: "given together with url or client",
        expected: "one of the three",
      });
    }
    const { clock, timeout, outbox } = options;
    this.#connection =
      options.connection ??
      connectRedis({
        url: options.url,
        client: options.client,
        commandTimeout: `${timeout}ms`,
        connectionName: "millrace tasks",
      });
    this.#base = taggedKey(options.prefix, "tasks");
    this.#events = new Events(this.#connection, `${this.#base}:events`, clock, timeout);
    if (!options.connection) this.#lifecycle.add("the connection", () => this.#connection.close());
    this.#lifecycle.add("the subscription", () => this.#events.close());
    if (outbox) {
      const target = {
        relay: async (rows: readonly OutboxRow[]) => {
          await this.#answer(
            "relay",
            scripts.relayScript,
            rows.flatMap(({ row, batch }) => relayArguments(row, batch)),
          );
        },
        holders: async (keys: readonly string[]) => {
          const reply = await this.#run("enqueue", scripts.holdersScript, keys);
          return reply.map(textOf);
        },
        forget: async (rows: readonly string[]) => {
          await this.#connection.command("zrem", [`${this.#base}:o`, ...rows]);
        },
      };
      const relay = new Outbox(outbox, this.#base, target, clock, options.sweepInterval);
      this.#outbox = relay;
      this.#lifecycle.add("the outbox", () => relay.close());
    }
  }

  async setup(): Promise<void> {
    await this.#outbox?.setUp(); // first: transactions may enqueue while Redis is away
    await this.#bounded("setup", () => checkServer(this.#connection, this.#base));
  }

  async enqueue(batch: EnqueueBatch, { in: transaction }: EnqueueOptions = {}): Promise<readonly EnqueueOutcome[]> {
    this.#lifecycle.assertOpen();
    if (batch.tasks.length === 0) return [];
    if (transaction !== undefined) {
      if (this.#outbox) return await this.#outbox.add(batch, transaction);
      throw tasksErrors.create("MILLRACE_TASKS_OUTBOX_MISSING", { reason: "redisTaskStore() has no `outbox`." });
    }
    const [only] = batch.tasks;
    if (batch.tasks.length === 1 && !only!.concurrency && !only!.unique && only!.group === undefined && !batch.groups?.length) {
      const made = await this.#answer("enqueue", scripts.enqueueOneScript, flatTask(only!));
      return [{ id: only!.id, accepted: made === 1 }];
    }
    const reply = await this.#run("enqueue", scripts.enqueueScript, enqueueArguments(flatBatch(batch)));
    return batch.tasks.map((_, i) => ({ id: String(reply[2 * i]), accepted: reply[2 * i + 1] === 1 }));
  }

  async fetch(demands: readonly FetchDemand[], { worker, leaseMs }: FetchOptions): Promise<readonly ClaimedTask[]> {
    if (demands.length === 0) return [];
    const lease = randomBytes(9).toString("base64url");
    const args: RedisArgument[] = [worker, lease, Math.ceil(leaseMs)];
    for (const { queue, limit, rate } of demands) args.push(queue, limit, rate?.max ?? "", rate?.perMs ?? "");
    const reply = await this.#run("fetch", scripts.fetchScript, args);
    return reply.map((task) => claimedOf(task as unknown[], lease));
  }

  settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]> {
    return inParts(settlements, perScript, async (part) => {
      const args: RedisArgument[] = [];
      for (const settlement of part) pushSettlement(args, settlement);
      const reply = await this.#run("settle", scripts.settleScript, args);
      return reply.map((settled) => (settled === 1 ? "settled" : "fenced"));
    });
  }

  extend(leases: readonly TaskLease[], leaseMs: number): Promise<readonly LeaseState[]> {
    return inParts(leases, perScript, async (part) => {
      const args = [Math.ceil(leaseMs), ...part.flatMap(({ id, attempt, lease }) => [id, attempt, lease])];
      const reply = await this.#run("extend", scripts.extendScript, args);
      return reply.map((state) => (state === 1 ? "held" : state === 2 ? "cancelled" : "lost"));
    });
  }

  async saveProgress(updates: readonly { readonly task: TaskLease; readonly progress: string }[]): Promise<void> {
    await inParts(updates, perScript, async (part) => {
      const args = part.flatMap(({ task, progress }) => [task.id, task.attempt, task.lease, progress]);
      await this.#run("saveProgress", scripts.progressScript, args);
      return [];
    });
  }

  async recover(options: {
    readonly limit: number;
    readonly delayMs: number;
    readonly keepMs: number;
  }): Promise<readonly RecoveredTask[]> {
    const args = [options.limit, Math.ceil(options.delayMs), Math.ceil(options.keepMs), stalled];
    const reply = await this.#run("recover", scripts.recoverScript, args);
    return (reply as unknown[][]).map(([id, queue, name, attempt, worker, became]) => ({
      id: String(id),
      queue: String(queue),
      name: String(name),
      attempt: Number(attempt),
      worker: String(worker),
      became: String(became) === "x" ? "cancelled" : "waiting",
    }));
  }

  async nextDue(demands: readonly FetchDemand[]): Promise<number | undefined> {
    if (demands.length === 0) return undefined;
    const args = demands.flatMap(({ queue, rate }) => [queue, rate?.max ?? "", rate?.perMs ?? ""]);
    const us = await this.#answer("nextDue", scripts.nextDueScript, args);
    return us === null ? undefined : Number(us) / 1_000;
  }

  async subscribe(listener: (event: StoreEvent) => void): Promise<Closeable> {
    this.#lifecycle.assertOpen();
    return await this.#events.add(listener);
  }

  async show(id: string): Promise<TaskRecord | undefined> {
    const [record] = await this.#records("show", [id]);
    return record;
  }

  async list({ state, queue, name, group, before, limit }: TaskFilter): Promise<readonly TaskRecord[]> {
    const found: TaskRecord[] = [];
    const fits = (record: TaskRecord): boolean =>
      (state === undefined || record.state === state) &&
      (queue === undefined || record.queue === queue) &&
      (name === undefined || record.name === name) &&
      (group === undefined || record.group === group);
    if (state === "active") {
      // Those have places of their own, and are no more than workers have in hand.
      const queues = queue === undefined ? await this.#queueNames() : [queue];
      const ids = (await Promise.all(queues.map((of) => this.#ids(["zrange", `${this.#base}:a:${of}`, 0, -1])))).flat();
      const those = ids.filter((id) => before === undefined || id < before).toSorted(newestFirst);
      for (let i = 0; i < those.length && found.length < limit; i += tasksPerLook) {
        found.push(...(await this.#records("list", those.slice(i, i + tasksPerLook))).filter(fits));
      }
      return found.slice(0, limit);
    }
    if (state === "dead") {
      const queues = queue === undefined ? await this.#queueNames() : [queue];
      for (let edge = before; found.length < limit;) {
        const ids = await this.#deadIds(queues, "zrevrangebylex", edge);
        found.push(...(await this.#records("list", ids)).filter(fits));
        if (ids.length < tasksPerLook) break;
        edge = ids.at(-1);
      }
      return found.slice(0, limit);
    }
    const filter = [state === undefined ? "" : stateCodes[state], queue ?? "", name ?? "", group ?? ""];
    for (let from = before === undefined ? "+" : `(${before}`; from !== "" && found.length < limit;) {
      const [last, ...records] = await this.#run("list", scripts.scanScript, [from, tasksPerLook, ...filter]);
      for (const record of records) found.push(recordFrom(record));
      from = String(last) === "" ? "" : `(${String(last)}`;
    }
    return found.slice(0, limit);
  }

  async queues(): Promise<readonly QueueState[]> {
    const reply = (await this.#run("queues", scripts.queuesScript, [])) as unknown[][];
    return reply
      .map(([queue, paused, waiting, delayed, active, dead, oldestUs]) => ({
        queue: String(queue),
        paused: paused === 1,
        waiting: Number(waiting),
        delayed: Number(delayed),
        active: Number(active),
        dead: Number(dead),
        oldestWaitingMs: Number(oldestUs) < 0 ? undefined : Number(oldestUs) / 1_000,
      }))
      .toSorted((a, b) => (a.queue < b.queue ? -1 : 1));
  }

  async cancel(id: string, keepMs: number): Promise<CancelOutcome> {
    if (!isTaskId(id)) return "unknown";
    return String(await this.#answer("cancel", scripts.cancelScript, [id, Math.ceil(keepMs)])) as CancelOutcome;
  }

  async makeDue(id: string): Promise<boolean> {
    return (await this.#answer("makeDue", scripts.makeDueScript, [id])) === 1;
  }

  redrive(filter: DeadFilter): Promise<readonly string[]> {
    return this.#dead("redrive", filter);
  }

  discard(filter: DeadFilter): Promise<readonly string[]> {
    return this.#dead("discard", filter);
  }

  /** Candidates are read first and judged again by the script, which is what counts. */
  async #dead(operation: "redrive" | "discard", { ids, queue, name, limit }: DeadFilter): Promise<readonly string[]> {
    const chosen: string[] = [];
    const queues = queue === undefined && !ids ? await this.#queueNames() : [queue ?? ""];
    const given = ids?.toSorted((a, b) => (a < b ? -1 : 1));
    for (let edge: string | undefined, at = 0; chosen.length < limit;) {
      const some = given ? given.slice(at, at + tasksPerLook) : await this.#deadIds(queues, "zrangebylex", edge);
      for (let i = 0; i < some.length && chosen.length < limit;) {
        const part = some.slice(i, i + limit - chosen.length);
        i += part.length;
        const reply = await this.#run(operation, scripts.deadScript, [operation, queue ?? "", name ?? "", ...part]);
        for (const id of reply) chosen.push(String(id));
      }
      if (some.length < tasksPerLook) break;
      edge = some.at(-1);
      at += some.length;
    }
    return chosen;
  }

  /** The next ids of the dead in the order of ids, or against it, that come after `edge`; less than tasksPerLook: there are no more. */
  async #deadIds(queues: readonly string[], command: "zrangebylex" | "zrevrangebylex", edge?: string): Promise<string[]> {
    const range =
      command === "zrangebylex" ? [edge === undefined ? "-" : `(${edge}`, "+"] : [edge === undefined ? "+" : `(${edge}`, "-"];
    const ids = await Promise.all(
      queues.map((of) => this.#ids([command, `${this.#base}:dead:${of}`, ...range, "limit", 0, tasksPerLook])),
    );
    const inOrder = ids.flat().toSorted(newestFirst);
    return (command === "zrangebylex" ? inOrder.toReversed() : inOrder).slice(0, tasksPerLook);
  }

  async pause(queue: string): Promise<void> {
    await this.#answer("pause", scripts.pauseScript, [queue, "1"]);
  }

  async resume(queue: string): Promise<void> {
    await this.#answer("resume", scripts.pauseScript, [queue, "0"]);
  }

  async groupResults(
    group: string,
    { after, limit }: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<readonly GroupResult[]> {
    const from = after === undefined ? "-" : `(${after}`;
    const reply = await this.#run("groupResults", scripts.groupResultsScript, [group, from, limit]);
    return reply.map((member) => groupResultOf(member as unknown[]));
  }

  async scheduleState(name: string, sinceMs: number): Promise<number> {
    return Number(String(await this.#answer("scheduleState", scripts.scheduleStateScript, [name, sinceMs])));
  }

  async claimSchedule(name: string, dueAtMs: number, task: NewTask): Promise<boolean> {
    return (await this.#answer("claimSchedule", scripts.claimScheduleScript, [name, dueAtMs, ...flatTask(task)])) === 1;
  }

  async cleanUp({ limit }: { readonly limit: number }): Promise<number> {
    return Number(await this.#answer("cleanUp", scripts.cleanUpScript, [limit]));
  }

  close(): Promise<void> {
    return this.#lifecycle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #records(operation: string, ids: readonly string[]): Promise<TaskRecord[]> {
    const reply = await this.#run(operation, scripts.recordsScript, ids);
    return reply.map(recordFrom);
  }

  #queueNames(): Promise<string[]> {
    return this.#ids(["smembers", `${this.#base}:queues`]);
  }

  /** Texts that a command answers. */
  async #ids([command, ...args]: readonly [string, ...RedisArgument[]]): Promise<string[]> {
    const reply = (await this.#bounded("list", () => this.#connection.command(command, args))) as unknown[];
    return reply.map(String);
  }

  async #run(operation: string, script: RedisScript, args: readonly RedisArgument[]): Promise<unknown[]> {
    return (await this.#answer(operation, script, args)) as unknown[];
  }

  #answer(operation: string, script: RedisScript, args: readonly RedisArgument[]): Promise<unknown> {
    return this.#bounded(operation, () => this.#connection.run(script, [this.#base], args));
  }

  /** The connection bounds it; here its failures get the contract's code. */
  async #bounded<Result>(operation: string, work: () => Promise<Result>): Promise<Result> {
    this.#lifecycle.assertOpen();
    try {
      return await work();
    } catch (error) {
      throw translated(operation, error);
    }
  }
}

/** The id comes first. */
function recordFrom(reply: unknown): TaskRecord {
  const [id, ...fields] = reply as unknown[];
  return recordOf(String(id), fields);
}

/** Seven arguments of the script settle. */
function pushSettlement(args: RedisArgument[], settlement: Settlement): void {
  const { id, attempt, lease } = settlement.task;
  switch (settlement.kind) {
    case "complete": {
      const { result = "", keepMs, next } = settlement;
      args.push("c", id, attempt, lease, Math.ceil(keepMs), result, next ? JSON.stringify(flatBatch(next)) : "");
      break;
    }
    case "dead":
      args.push("d", id, attempt, lease, Math.ceil(settlement.keepMs), settlement.error, settlement.reason);
      break;
    case "cancelled":
      args.push("x", id, attempt, lease, Math.ceil(settlement.keepMs), "", "");
      break;
    case "retry":
      args.push("r", id, attempt, lease, Math.ceil(settlement.delayMs), settlement.error, "");
      break;
    case "release":
      args.push("l", id, attempt, lease, Math.ceil(settlement.delayMs), "", "");
      break;
  }
}

/**
 * Tasks in Redis. It connects in the background: until then, and whenever Redis is away, its methods reject.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN, MILLRACE_REDIS_URL_INVALID, MILLRACE_REDIS_CLIENT_MISSING
 */
export function redisTaskStore(options: RedisTaskStoreOptions): TaskStore {
  return new RedisTaskStore(options);
}
