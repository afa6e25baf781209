// The suite that every task store must pass, ours and yours: call it in a file of tests. docs/task-stores.md explains the contract.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { suite, test } from "node:test";
import { systemClock } from "../core/index.ts";
import type {
  ClaimedTask,
  EnqueueTransaction,
  FetchDemand,
  NewTask,
  Settlement,
  StoreEvent,
  TaskLease,
  TaskStore,
} from "../tasks/index.ts";
import { type TaskEvent, judgeHistory } from "./task-history.ts";

export interface TaskStoreContractOptions {
  /** Makes this much time pass for the store: moves what it has kept into the past, or really waits. Default: waits, with `briefMs`. */
  readonly pass?: (store: TaskStore, ms: number) => Promise<void>;
  /** Runs `work` in a transaction that tasks can be enqueued in, and rolls it back if it throws. Without it that is not tested. */
  readonly transaction?: (store: TaskStore, work: (tx: EnqueueTransaction) => Promise<void>) => Promise<void>;
  /** A lease, delay or window that the suite lets pass; it then lets three times as much pass. Default 1,000 ms. */
  readonly briefMs?: number;
}

const minute = 60_000;
const fetchOptions = { worker: "contract", leaseMs: minute };

async function wait(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  systemClock.timer(ms, resolve, true);
  await promise;
}

/** Waits until `condition` gives something, for at most ten seconds: for what a store does a moment later. */
async function eventually<T>(condition: () => Promise<T | undefined>, what: string): Promise<T> {
  for (const untilMs = performance.now() + 10_000; performance.now() < untilMs; await wait(20)) {
    const value = await condition();
    if (value !== undefined) return value;
  }
  return assert.fail(`It did not happen within 10 s: ${what}`);
}

/** A UUID of version 7, in the order in which they are made. */
let idCount = 0;
function newId(): string {
  const time = Date.now().toString(16).padStart(12, "0");
  const count = (idCount++ & 0xfff).toString(16).padStart(3, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-8${randomBytes(8).toString("hex").slice(1, 4)}-${randomBytes(6).toString("hex")}`;
}

const complete = (task: TaskLease, more: Partial<Extract<Settlement, { kind: "complete" }>> = {}): Settlement => ({
  kind: "complete",
  task,
  keepMs: minute,
  ...more,
});

/**
 * Declares the suite for `name`. `createStore` is called once per test; the suite sets the store up and closes it. Queues of the suite have
 * names of their own in every test, so that stores may share a server.
 */
export function taskStoreContract(
  name: string,
  createStore: () => Promise<TaskStore>,
  options: TaskStoreContractOptions = {},
): void {
  const { briefMs = 1_000, pass = (_store, ms) => wait(ms), transaction } = options;
  const run = randomBytes(4).toString("hex");
  let queues = 0;
  const newQueue = () => `contract-${run}-${++queues}`;

  const at = async (): Promise<Scene> => {
    const store = await createStore();
    await store.setup();
    return new Scene(store, newQueue());
  };

  /** A store and a queue of one test's own. */
  class Scene implements AsyncDisposable {
    readonly store: TaskStore;
    readonly queue: string;

    constructor(store: TaskStore, queue: string) {
      this.store = store;
      this.queue = queue;
    }

    task(more: Partial<NewTask> = {}): NewTask {
      return { id: newId(), queue: this.queue, name: "grind", input: "null", priority: 2, ...more };
    }

    /** Enqueues one, and returns its id. */
    async put(more: Partial<NewTask> = {}): Promise<string> {
      const task = this.task(more);
      const [outcome] = await this.store.enqueue({ tasks: [task] });
      assert.deepEqual(outcome, { id: task.id, accepted: true });
      return task.id;
    }

    async take(limit = 10, demand: Partial<FetchDemand> = {}): Promise<readonly ClaimedTask[]> {
      return await this.store.fetch([{ queue: this.queue, limit, ...demand }], fetchOptions);
    }

    /** Takes the only one there is. */
    async takeOne(): Promise<ClaimedTask> {
      const claimed = await this.take();
      assert.equal(claimed.length, 1, "one task is there");
      return claimed[0]!;
    }

    async ids(limit?: number): Promise<readonly string[]> {
      return (await this.take(limit)).map(({ id }) => id);
    }

    async settle(...settlements: Settlement[]): Promise<readonly string[]> {
      return await this.store.settle(settlements);
    }

    async stateOf(id: string): Promise<string | undefined> {
      return (await this.store.show(id))?.state;
    }

    pass(ms: number): Promise<void> {
      return pass(this.store, ms);
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.store.close();
    }
  }

  suite(`the task store ${name}`, () => {
    test("has a name, is set up twice and closes twice", async () => {
      const store = await createStore();
      assert.match(store.name, /^\S+$/);
      await Promise.all([store.setup(), store.setup()]);
      await store.setup();
      await store.close();
      await store.close();
    });

    test("gives a task once, with what was handed in byte for byte", async () => {
      await using here = await at();
      const inputs = [
        "null",
        '{"a":[1,2,{"b":"c"}]}',
        '"\\u0000 \\ud83d\\ude00 😀 \\\\ \\" é"',
        ' { "spaced" : 1.50 } ',
        `"${"x".repeat(100_000)}"`,
      ];
      for (const input of inputs) {
        const before = Date.now();
        const id = await here.put({ input, meta: '{"trace":"00-1"}', name: "grind.fine", priority: 1 });
        const claimed = await here.takeOne();
        assert.equal(claimed.id, id);
        assert.equal(claimed.attempt, 1);
        assert.equal(claimed.name, "grind.fine");
        assert.equal(claimed.queue, here.queue);
        assert.equal(claimed.priority, 1);
        assert.equal(claimed.input, input);
        assert.equal(claimed.meta, '{"trace":"00-1"}');
        assert.equal(claimed.progress, undefined);
        assert.equal(claimed.group, undefined);
        assert.ok(Math.abs(claimed.enqueuedAtMs - before) < minute && Math.abs(claimed.dueAtMs - before) < minute);
        assert.deepEqual(await here.take(), []);
        assert.deepEqual(await here.settle(complete(claimed)), ["settled"]);
        assert.deepEqual(await here.take(), []);
      }
    });

    test("gives no more than asked for, and nothing of other queues", async () => {
      await using here = await at();
      const other = newQueue();
      await here.store.enqueue({ tasks: Array.from({ length: 5 }, () => here.task()) });
      await here.put({ queue: other });
      assert.equal((await here.take(3)).length, 3);
      const both = await here.store.fetch(
        [
          { queue: here.queue, limit: 1 },
          { queue: other, limit: 5 },
        ],
        fetchOptions,
      );
      assert.deepEqual(both.map(({ queue }) => queue).toSorted(), [here.queue, other].toSorted());
      assert.equal((await here.take()).length, 1);
    });

    test("takes the more urgent first, and among equals the one that was due first", async () => {
      await using here = await at();
      const names: string[] = [];
      for (const priority of [3, 2, 1, 0] as const) {
        for (const nth of ["first", "second"]) {
          await here.put({ priority, name: `p${priority}-${nth}` });
        }
      }
      for (let i = 0; i < 8; i++) names.push((await here.take(1))[0]!.name);
      assert.deepEqual(names, ["p0-first", "p0-second", "p1-first", "p1-second", "p2-first", "p2-second", "p3-first", "p3-second"]);
    });

    test("gives a batch in its order", async () => {
      await using here = await at();
      const tasks = Array.from({ length: 250 }, () => here.task());
      const outcomes = await here.store.enqueue({ tasks });
      assert.deepEqual(
        outcomes,
        tasks.map(({ id }) => ({ id, accepted: true })),
      );
      assert.deepEqual(
        await here.ids(250),
        tasks.map(({ id }) => id),
      );
    });

    test("takes thousands at once, all or nothing", async () => {
      await using here = await at();
      const tasks = Array.from({ length: 2_500 }, (_, i) => here.task({ input: String(i) }));
      await here.store.enqueue({ tasks });
      const seen = new Set<string>();
      for (let left = tasks.length; left > 0;) {
        const claimed = await here.take(1_000);
        assert.ok(claimed.length > 0);
        for (const { input } of claimed) seen.add(input);
        left -= claimed.length;
      }
      assert.equal(seen.size, 2_500);
    });

    test("does not enqueue an id again, whatever has become of it", async () => {
      await using here = await at();
      const task = here.task();
      const again = async () => (await here.store.enqueue({ tasks: [task] }))[0];
      await here.store.enqueue({ tasks: [task] });
      assert.deepEqual(await again(), { id: task.id, accepted: false });
      const claimed = await here.takeOne();
      assert.deepEqual(await again(), { id: task.id, accepted: false });
      await here.settle(complete(claimed));
      assert.deepEqual(await again(), { id: task.id, accepted: false });
      assert.deepEqual(await here.take(), []);
      assert.equal(await here.stateOf(task.id), "completed");
    });

    test("keeps a delayed task until its time, and says when that is", async () => {
      await using here = await at();
      assert.equal(await here.store.nextDue([{ queue: here.queue, limit: 1 }]), undefined);
      const soon = await here.put({ delayMs: briefMs });
      const later = await here.put({ atMs: Date.now() + 40 * 86_400_000, priority: 0 });
      assert.deepEqual(await here.take(), []);
      const due = await here.store.nextDue([{ queue: here.queue, limit: 1 }]);
      assert.ok(due !== undefined && due <= briefMs, `${due} ms`);
      const record = await here.store.show(later);
      assert.equal(record?.state, "waiting");
      assert.ok(Math.abs(record.dueAtMs - Date.now() - 40 * 86_400_000) < 10 * minute);
      await here.pass(3 * briefMs);
      assert.equal(await here.store.nextDue([{ queue: here.queue, limit: 1 }]), 0);
      assert.deepEqual(await here.ids(), [soon]);
      const left = await here.store.nextDue([{ queue: here.queue, limit: 1 }]);
      assert.ok(left !== undefined && left > 39 * 86_400_000, `${left} ms`);
    });

    test("makes a delayed task due when asked", async () => {
      await using here = await at();
      for (const concurrency of [undefined, { key: `${here.queue}:key`, max: 5 }]) {
        const id = await here.put({ delayMs: minute, concurrency });
        assert.deepEqual(await here.take(), []);
        assert.equal(await here.store.makeDue(id), true);
        assert.deepEqual(await here.ids(), [id]);
        assert.equal(await here.store.makeDue(id), false);
      }
      assert.equal(await here.store.makeDue(newId()), false);
    });

    test("fences every settlement by its lease", async () => {
      await using here = await at();
      await here.put();
      const first = await here.takeOne();
      for (const wrong of [
        { ...first, attempt: 2 },
        { ...first, attempt: 0 },
        { ...first, lease: "1" },
        { ...first, id: newId() },
      ]) {
        assert.deepEqual(await here.settle(complete(wrong)), ["fenced"], JSON.stringify(wrong));
        assert.deepEqual(await here.store.extend([wrong], minute), ["lost"]);
      }
      assert.deepEqual(await here.settle({ kind: "retry", task: first, delayMs: 0, error: '{"message":"no"}' }), ["settled"]);
      assert.deepEqual(await here.settle(complete(first)), ["fenced"]);
      const second = await here.takeOne();
      assert.equal(second.attempt, 2);
      assert.notEqual(second.lease, first.lease);
      assert.deepEqual(await here.settle(complete(first)), ["fenced"]);
      assert.deepEqual(await here.settle({ kind: "release", task: second, delayMs: 0 }), ["settled"]);
      const third = await here.takeOne();
      assert.equal(third.attempt, 2, "a release does not count");
      assert.deepEqual(await here.settle(complete(second)), ["fenced"]);
      assert.deepEqual(await here.settle(complete(third)), ["settled"]);
      assert.deepEqual(await here.settle(complete(third)), ["fenced"]);
      assert.equal((await here.store.show(third.id))?.attempt, 2);
    });

    test("judges several leases of one task in a batch each by itself; of one that is named twice the first counts", async () => {
      await using here = await at();
      await here.store.enqueue({ tasks: [here.task(), here.task(), here.task()] });
      const [a, b, c] = await here.take();
      const old = { ...a!, lease: "1" };
      assert.deepEqual(await here.store.extend([old, a!, old, b!], minute), ["lost", "held", "lost", "held"]);
      await here.store.saveProgress([
        { task: a!, progress: "1" },
        { task: a!, progress: "2" },
      ]);
      assert.equal((await here.store.show(a!.id))?.progress, "2", "of two states of progress the last counts");
      const next = () => ({ next: { tasks: [here.task({ name: "follower" })] } });
      assert.deepEqual(
        await here.settle(
          complete(old, next()),
          complete(a!, next()),
          { kind: "release", task: a!, delayMs: 0 },
          complete(a!, next()),
          { kind: "release", task: b!, delayMs: minute },
          complete(b!),
        ),
        ["fenced", "settled", "fenced", "fenced", "settled", "fenced"],
      );
      assert.equal((await here.store.show(a!.id))?.state, "completed");
      assert.equal((await here.store.show(b!.id))?.state, "waiting");
      assert.deepEqual(
        (await here.take()).map(({ name }) => name),
        ["follower"],
        "what follows is enqueued once",
      );
      assert.deepEqual(await here.settle(complete(c!), complete(c!)), ["settled", "fenced"]);
    });

    test("judges the settlements of a batch one by one", async () => {
      await using here = await at();
      await here.store.enqueue({ tasks: Array.from({ length: 6 }, () => here.task()) });
      const [a, b, c, d, e, f] = await here.take();
      await here.settle(complete(b!));
      const outcomes = await here.settle(
        complete(a!, { result: '{"ok":true}' }),
        complete(b!),
        { kind: "dead", task: c!, reason: "fatal", error: '{"message":"bad"}', keepMs: minute },
        { kind: "retry", task: d!, delayMs: minute, error: '{"message":"later"}' },
        { kind: "cancelled", task: e!, keepMs: minute },
        { kind: "release", task: { ...f!, lease: "7" }, delayMs: 0 },
      );
      assert.deepEqual(outcomes, ["settled", "fenced", "settled", "settled", "settled", "fenced"]);
      const records = await Promise.all([a, b, c, d, e, f].map((task) => here.store.show(task!.id)));
      assert.deepEqual(
        records.map((record) => record?.state),
        ["completed", "completed", "dead", "waiting", "cancelled", "active"],
      );
      assert.equal(records[0]?.result, '{"ok":true}');
      assert.equal(records[2]?.deadReason, "fatal");
      assert.equal(records[2]?.error, '{"message":"bad"}');
      assert.equal(records[3]?.error, '{"message":"later"}');
      assert.equal(records[5]?.worker, "contract");
    });

    test("gives a task whose lease has run out to another, and the attempt counts", async () => {
      await using here = await at();
      const id = await here.put();
      const [first] = await here.store.fetch([{ queue: here.queue, limit: 1 }], { worker: "one that dies", leaseMs: briefMs });
      await here.put();
      const other = await here.takeOne();
      assert.deepEqual(
        (await here.store.recover({ limit: 100, delayMs: 0, keepMs: minute })).filter(
          (task) => task.id === id || task.id === other.id,
        ),
        [],
      );
      await here.pass(3 * briefMs);
      assert.deepEqual(await here.take(), [], "until somebody has recovered it");
      const recovered = (await here.store.recover({ limit: 100, delayMs: 0, keepMs: minute })).filter(
        ({ queue }) => queue === here.queue,
      );
      assert.deepEqual(recovered, [
        { id, queue: here.queue, name: "grind", attempt: 1, worker: "one that dies", became: "waiting" },
      ]);
      assert.deepEqual(await here.store.extend([first!], minute), ["lost"]);
      const second = await here.takeOne();
      assert.equal(second.attempt, 2);
      assert.deepEqual(await here.settle(complete(first!)), ["fenced"]);
      assert.deepEqual(await here.settle(complete(second)), ["settled"]);
    });

    test("keeps a task with who extends its lease", async () => {
      await using here = await at();
      await here.put();
      const [held] = await here.store.fetch([{ queue: here.queue, limit: 1 }], { worker: "slow", leaseMs: briefMs });
      assert.deepEqual(await here.store.extend([held!, { id: newId(), attempt: 1, lease: "1" }], 10 * minute), ["held", "lost"]);
      await here.pass(3 * briefMs);
      const recovered = await here.store.recover({ limit: 100, delayMs: 0, keepMs: minute });
      assert.ok(!recovered.some(({ id }) => id === held!.id));
      assert.deepEqual(await here.settle(complete(held!)), ["settled"]);
    });

    test("recovers with a pause, and no more than asked for", async () => {
      await using here = await at();
      await here.store.enqueue({ tasks: Array.from({ length: 3 }, () => here.task()) });
      await here.store.fetch([{ queue: here.queue, limit: 3 }], { worker: "one that dies", leaseMs: briefMs });
      await here.pass(3 * briefMs);
      // Others of the same server may have been waiting for this, too.
      let ours = 0;
      for (let calls = 0; ours < 3 && calls < 100; calls++) {
        const recovered = await here.store.recover({ limit: 2, delayMs: 10 * minute, keepMs: minute });
        assert.ok(recovered.length <= 2);
        ours += recovered.filter(({ queue }) => queue === here.queue).length;
      }
      assert.equal(ours, 3);
      assert.deepEqual(await here.take(), []);
    });

    test("cancels what waits, and asks what is active to stop", async () => {
      await using here = await at();
      const waiting = await here.put({ delayMs: minute });
      assert.equal(await here.store.cancel(waiting, minute), "cancelled");
      assert.equal(await here.stateOf(waiting), "cancelled");
      assert.equal(await here.store.cancel(waiting, minute), "finished");
      assert.equal(await here.store.cancel(newId(), minute), "unknown");

      const active = await here.put();
      const claimed = await here.takeOne();
      assert.equal(await here.store.cancel(active, minute), "requested");
      assert.equal((await here.store.show(active))?.cancelRequested, true);
      assert.deepEqual(await here.store.extend([claimed], minute), ["cancelled"]);
      assert.deepEqual(await here.settle({ kind: "cancelled", task: claimed, keepMs: minute }), ["settled"]);
      assert.equal(await here.stateOf(active), "cancelled");
      assert.deepEqual(await here.take(), []);
    });

    test("does not try again what was asked to stop: not after a failure, a release or a crash", async () => {
      await using here = await at();
      for (const [i, end] of (["retry", "release", "crash"] as const).entries()) {
        const id = await here.put();
        const [claimed] = await here.store.fetch([{ queue: here.queue, limit: 1 }], {
          worker: "w",
          leaseMs: i === 2 ? briefMs : minute,
        });
        await here.store.cancel(id, minute);
        if (end === "crash") {
          await here.pass(3 * briefMs);
          const recovered = await here.store.recover({ limit: 100, delayMs: 0, keepMs: minute });
          assert.equal(recovered.find((task) => task.id === id)?.became, "cancelled");
        } else {
          const settlement: Settlement =
            end === "retry"
              ? { kind: "retry", task: claimed!, delayMs: 0, error: '{"message":"x"}' }
              : { kind: "release", task: claimed!, delayMs: 0 };
          assert.deepEqual(await here.settle(settlement), ["settled"]);
        }
        assert.equal(await here.stateOf(id), "cancelled", end);
        assert.deepEqual(await here.take(), []);
      }
    });

    test("lets a task complete that was asked to stop too late", async () => {
      await using here = await at();
      const id = await here.put();
      const claimed = await here.takeOne();
      await here.store.cancel(id, minute);
      assert.deepEqual(await here.settle(complete(claimed)), ["settled"]);
      assert.equal(await here.stateOf(id), "completed");
    });

    test("takes nothing of a paused queue, whoever asks, and lets what is active go on", async () => {
      await using here = await at();
      await here.put();
      const active = await here.takeOne();
      await here.store.pause(here.queue);
      await here.store.pause(here.queue);
      const id = await here.put();
      await here.put({ concurrency: { key: `${here.queue}:key`, max: 1 } });
      assert.deepEqual(await here.take(), []);
      assert.equal(await here.store.nextDue([{ queue: here.queue, limit: 1 }]), undefined);
      assert.deepEqual(await here.settle(complete(active)), ["settled"]);
      const state = (await here.store.queues()).find(({ queue }) => queue === here.queue);
      assert.deepEqual(
        { ...state, oldestWaitingMs: 0 },
        { queue: here.queue, paused: true, waiting: 2, delayed: 0, active: 0, dead: 0, oldestWaitingMs: 0 },
      );
      await here.store.resume(here.queue);
      await here.store.resume(here.queue);
      assert.ok((await here.ids()).includes(id));
    });

    test("accepts one task per unique key until it has finished", async () => {
      await using here = await at();
      const unique = { key: `${here.queue}:key`, until: "finished" } as const;
      const first = await here.put({ unique });
      const again = async () => (await here.store.enqueue({ tasks: [here.task({ unique })] }))[0];
      assert.deepEqual(await again(), { id: first, accepted: false });
      await here.put({ unique: { key: `${here.queue}:other`, until: "finished" } });
      const claimed = (await here.take()).find(({ id }) => id === first)!;
      assert.deepEqual(await again(), { id: first, accepted: false });
      await here.settle({ kind: "retry", task: claimed, delayMs: 0, error: "{}" });
      assert.deepEqual(await again(), { id: first, accepted: false });
      const second = await here.takeOne();
      await here.settle(complete(second));
      assert.equal((await again())?.accepted, true);
    });

    test("frees a unique key that holds until the start, when it starts", async () => {
      await using here = await at();
      const unique = { key: `${here.queue}:key`, until: "started" } as const;
      const first = await here.put({ unique });
      assert.deepEqual((await here.store.enqueue({ tasks: [here.task({ unique })] }))[0], { id: first, accepted: false });
      const claimed = await here.takeOne();
      const second = await here.put({ unique });
      await here.settle({ kind: "retry", task: claimed, delayMs: minute, error: "{}" });
      assert.deepEqual((await here.store.enqueue({ tasks: [here.task({ unique })] }))[0], { id: second, accepted: false });
    });

    test("holds a unique key for a length of time, whatever becomes of its task", async () => {
      await using here = await at();
      const unique = { key: `${here.queue}:key`, until: 2 * briefMs } as const;
      const first = await here.put({ unique });
      await here.settle(complete(await here.takeOne(), { keepMs: 0 }));
      assert.deepEqual((await here.store.enqueue({ tasks: [here.task({ unique })] }))[0], { id: first, accepted: false });
      await here.pass(6 * briefMs);
      await here.put({ unique });
    });

    test("accepts one of many that come at once with the same unique key", async () => {
      await using here = await at();
      for (const until of ["finished", "started", minute] as const) {
        const key = `${here.queue}:${until}`;
        const outcomes = await Promise.all(
          Array.from({ length: 20 }, () => here.store.enqueue({ tasks: [here.task({ unique: { key, until } })] })),
        );
        const accepted = outcomes.flat().filter((outcome) => outcome.accepted);
        assert.equal(accepted.length, 1, String(until));
        assert.deepEqual(new Set(outcomes.flat().map(({ id }) => id)), new Set([accepted[0]!.id]));
        const batch = await here.store.enqueue({
          tasks: [
            here.task({ unique: { key: `${key}:batch`, until } }),
            here.task(),
            here.task({ unique: { key: `${key}:batch`, until } }),
          ],
        });
        assert.deepEqual(
          batch.map((outcome) => outcome.accepted),
          [true, true, false],
        );
        assert.equal(batch[2]!.id, batch[0]!.id);
      }
      assert.equal((await here.take(100)).length, 9);
    });

    test("never has more tasks of a key active than its limit, however many fetch at once", async () => {
      await using here = await at();
      const keys = ["a", "b", "c"].map((key, i) => ({ key: `${here.queue}:${key}`, max: i + 1 }));
      await here.store.enqueue({
        tasks: Array.from({ length: 60 }, (_, i) => here.task({ concurrency: keys[i % 3]!, name: `key-${i % 3}` })),
      });
      const active = new Map<string, number>();
      let done = 0;
      const worker = async (): Promise<void> => {
        for (let empty = 0; empty < 200 && done < 60;) {
          const claimed = await here.take(4);
          if (claimed.length === 0) {
            empty++;
            await wait(5);
            continue;
          }
          for (const { name: key } of claimed) {
            active.set(key, (active.get(key) ?? 0) + 1);
            assert.ok(active.get(key)! <= Number(key.slice(4)) + 1, `${active.get(key)} of ${key}`);
          }
          await wait(1);
          for (const task of claimed) active.set(task.name, active.get(task.name)! - 1);
          const outcomes = await here.settle(...claimed.map((task) => complete(task)));
          assert.ok(outcomes.every((outcome) => outcome === "settled"));
          done += claimed.length;
        }
      };
      await Promise.all(Array.from({ length: 8 }, worker));
      assert.equal(done, 60);
    });

    test("counts what is active: a place is free again after a failure, a release, a crash and an end", async () => {
      await using here = await at();
      const concurrency = { key: `${here.queue}:key`, max: 1 };
      await here.store.enqueue({ tasks: Array.from({ length: 5 }, () => here.task({ concurrency })) });
      const one = async (leaseMs = minute): Promise<ClaimedTask> => {
        const claimed = await here.store.fetch([{ queue: here.queue, limit: 10 }], { worker: "w", leaseMs });
        assert.equal(claimed.length, 1);
        assert.deepEqual(await here.take(), []);
        return claimed[0]!;
      };
      await here.settle({ kind: "retry", task: await one(), delayMs: minute, error: "{}" });
      await here.settle({ kind: "release", task: await one(), delayMs: minute });
      await here.settle({ kind: "dead", task: await one(), reason: "fatal", error: "{}", keepMs: minute });
      await here.settle(complete(await one()));
      const crashed = await one(briefMs);
      await here.pass(3 * briefMs);
      await here.store.recover({ limit: 100, delayMs: 0, keepMs: minute });
      assert.equal((await one()).id, crashed.id);
    });

    test("does not let a key with many tasks starve the others", async () => {
      await using here = await at();
      const key = (of: string) => ({ key: `${here.queue}:${of}`, max: 1 });
      await here.store.enqueue({ tasks: Array.from({ length: 300 }, () => here.task({ concurrency: key("busy"), priority: 0 })) });
      const quiet = await here.put({ concurrency: key("quiet"), priority: 3 });
      const without = await here.put({ priority: 3 });
      const claimed = await here.ids(10);
      assert.equal(claimed.length, 3);
      assert.ok(claimed.includes(quiet) && claimed.includes(without));
    });

    test("starts no more of a queue in a window than its rate, however many fetch at once", async () => {
      await using here = await at();
      const rate = { max: 5, perMs: 30 * briefMs };
      await here.store.enqueue({ tasks: Array.from({ length: 12 }, () => here.task()) });
      const claimed = (await Promise.all(Array.from({ length: 6 }, () => here.take(4, { rate })))).flat();
      assert.equal(claimed.length, 5);
      assert.deepEqual(await here.take(10, { rate }), []);
      const due = await here.store.nextDue([{ queue: here.queue, limit: 10, rate }]);
      assert.ok(due !== undefined && due > 0 && due <= rate.perMs, `${due} ms`);
      await here.settle(...claimed.map((task) => complete(task)));
      assert.deepEqual(await here.take(10, { rate }), [], "what has ended was started nevertheless");
      if (options.pass) {
        await here.pass(31 * briefMs);
        assert.equal((await here.take(10, { rate })).length, 5);
      }
    });

    test("keeps results as long as it should, and no longer", async () => {
      await using here = await at();
      const [brief, long, none] = [await here.put(), await here.put(), await here.put()];
      const claimed = new Map((await here.take()).map((task) => [task.id, task]));
      await here.settle(
        complete(claimed.get(brief)!, { result: "1", keepMs: briefMs }),
        complete(claimed.get(long)!, { result: "2", keepMs: 10 * minute }),
        complete(claimed.get(none)!, { result: "3", keepMs: 0 }),
      );
      assert.equal(await here.store.show(none), undefined);
      const record = await here.store.show(long);
      assert.equal(record?.result, "2");
      assert.ok(record.startedAtMs! <= record.finishedAtMs!);
      await here.pass(3 * briefMs);
      while ((await here.store.cleanUp({ limit: 100 })) >= 100);
      assert.equal(await here.store.show(brief), undefined);
      assert.equal((await here.store.show(long))?.result, "2");
    });

    test("keeps the latest progress, also for the next attempt, and takes none from who does not hold the task", async () => {
      await using here = await at();
      const id = await here.put();
      const first = await here.takeOne();
      await here.store.saveProgress([{ task: first, progress: '{"rows":1}' }]);
      await here.store.saveProgress([{ task: first, progress: '{"rows":2}' }]);
      assert.equal((await here.store.show(id))?.progress, '{"rows":2}');
      await here.settle({ kind: "retry", task: first, delayMs: 0, error: "{}" });
      await here.store.saveProgress([{ task: first, progress: '{"rows":99}' }]);
      const second = await here.takeOne();
      assert.equal(second.progress, '{"rows":2}');
      await here.settle(complete(second));
      assert.equal((await here.store.show(id))?.progress, '{"rows":2}');
    });

    test("shows the dead, and tries them again or forgets them", async () => {
      await using here = await at();
      const ids = [await here.put({ input: '{"n":1}', priority: 1 }), await here.put({ name: "other" }), await here.put()];
      for (const task of await here.take()) {
        await here.settle({ kind: "dead", task, reason: "attempts", error: `{"message":"${task.name}"}`, keepMs: 10 * minute });
      }
      const dead = await here.store.list({ state: "dead", queue: here.queue, limit: 10 });
      assert.deepEqual(dead.map(({ id }) => id).toSorted(), ids.toSorted());
      assert.equal((await here.store.queues()).find(({ queue }) => queue === here.queue)?.dead, 3);
      assert.deepEqual(await here.store.redrive({ ids: [ids[0]!, newId()], limit: 10 }), [ids[0]]);
      const again = await here.takeOne();
      assert.deepEqual([again.id, again.attempt, again.input, again.priority], [ids[0], 1, '{"n":1}', 1]);
      assert.equal(await here.stateOf(again.id), "active");
      assert.deepEqual(await here.store.discard({ queue: here.queue, name: "other", limit: 10 }), [ids[1]]);
      assert.equal(await here.store.show(ids[1]!), undefined);
      assert.deepEqual(await here.store.redrive({ queue: here.queue, limit: 10 }), [ids[2]]);
      assert.deepEqual(await here.store.redrive({ queue: here.queue, limit: 10 }), []);
    });

    test("lists from the newest to the oldest, page by page, by what is asked for", async () => {
      await using here = await at();
      const ids: string[] = [];
      for (let i = 0; i < 5; i++) ids.push(await here.put({ name: i % 2 === 0 ? "even" : "odd", delayMs: i === 4 ? minute : 0 }));
      const [first, second] = await here.take(2);
      await here.settle(complete(first!));
      const idsOf = async (filter: object) =>
        (await here.store.list({ queue: here.queue, limit: 10, ...filter })).map(({ id }) => id);
      assert.deepEqual(await idsOf({}), ids.toReversed());
      assert.deepEqual(await idsOf({ limit: 2 }), ids.slice(3).toReversed());
      assert.deepEqual(await idsOf({ before: ids[3] }), ids.slice(0, 3).toReversed());
      assert.deepEqual(await idsOf({ name: "odd" }), [ids[3], ids[1]]);
      assert.deepEqual(await idsOf({ state: "active" }), [second!.id]);
      assert.deepEqual(await idsOf({ state: "completed" }), [first!.id]);
      assert.deepEqual(await idsOf({ state: "waiting" }), ids.slice(2).toReversed());
      assert.deepEqual(await idsOf({ state: "dead" }), []);
    });

    test("enqueues what comes next together with the end, and only if that counts", async () => {
      await using here = await at();
      await here.put();
      const first = await here.takeOne();
      const next = here.task({ name: "next", input: '"\\u0000é"', delayMs: 0 });
      assert.deepEqual(await here.settle(complete({ ...first, lease: "1" }, { next: { tasks: [here.task()] } })), ["fenced"]);
      assert.deepEqual(await here.take(), []);
      assert.deepEqual(await here.settle(complete(first, { next: { tasks: [next] } })), ["settled"]);
      assert.deepEqual(await here.settle(complete(first, { next: { tasks: [here.task()] } })), ["fenced"]);
      const second = await here.takeOne();
      assert.deepEqual([second.id, second.name, second.input], [next.id, "next", '"\\u0000é"']);
    });

    test("enqueues a group's callback once, when all its members are through, however many settle at once", async () => {
      await using here = await at();
      for (const size of [1, 2, 25]) {
        const group = newId();
        const callback = here.task({ name: "callback", input: '{"of":"group"}' });
        const members = Array.from({ length: size }, (_, i) => here.task({ group, input: String(i) }));
        await here.store.enqueue({ tasks: members, groups: [{ id: group, size, when: "completed", callback, keepMs: minute }] });
        const claimed = await here.take(100);
        assert.equal(claimed.length, size);
        assert.ok(claimed.every((task) => task.group === group));
        assert.deepEqual(await here.take(), []);
        await Promise.all(claimed.map((task) => here.settle(complete(task, { result: task.input, keepMs: 0 }))));
        const called = await here.takeOne();
        assert.deepEqual([called.id, called.name, called.input], [callback.id, "callback", '{"of":"group"}']);
        const results = [];
        for (let after: string | undefined; ;) {
          const page = await here.store.groupResults(group, { after, limit: 10 });
          results.push(...page);
          after = page.at(-1)?.id;
          if (page.length < 10) break;
        }
        assert.deepEqual(
          results.map(({ id, state, result }) => [id, state, result]),
          members.map(({ id, input }) => [id, "completed", input]).toSorted((a, b) => (a[0]! < b[0]! ? -1 : 1)),
        );
        await here.settle(complete(called));
        assert.deepEqual(await here.take(), []);
      }
    });

    test("lets a group wait for its dead until they are redriven or discarded, or not, as it says", async () => {
      await using here = await at();
      const groupOf = async (when: "completed" | "settled"): Promise<readonly ClaimedTask[]> => {
        const group = newId();
        await here.store.enqueue({
          tasks: [here.task({ group }), here.task({ group })],
          groups: [{ id: group, size: 2, when, callback: here.task({ name: "callback" }), keepMs: minute }],
        });
        return await here.take();
      };
      const die = (task: TaskLease): Settlement => ({ kind: "dead", task, reason: "fatal", error: "{}", keepMs: minute });

      const settledGroup = await groupOf("settled");
      await here.settle(complete(settledGroup[0]!), die(settledGroup[1]!));
      assert.equal((await here.takeOne()).name, "callback");
      assert.deepEqual(await here.store.redrive({ ids: [settledGroup[1]!.id], limit: 1 }), [settledGroup[1]!.id]);
      await here.settle(complete(await here.takeOne()));
      assert.deepEqual(await here.take(), [], "no second callback");

      const redriven = await groupOf("completed");
      await here.settle(complete(redriven[0]!), die(redriven[1]!));
      assert.deepEqual(await here.take(), []);
      await here.store.redrive({ ids: [redriven[1]!.id], limit: 1 });
      await here.settle(complete(await here.takeOne()));
      assert.equal((await here.takeOne()).name, "callback");

      const discarded = await groupOf("completed");
      await here.settle(die(discarded[0]!), { kind: "cancelled", task: discarded[1]!, keepMs: minute });
      assert.deepEqual(await here.take(), []);
      await here.store.discard({ ids: [discarded[0]!.id], limit: 1 });
      assert.equal((await here.takeOne()).name, "callback");
    });

    test("enqueues each occurrence of a schedule once, and never an earlier one", async () => {
      await using here = await at();
      const schedule = `${here.queue}:daily`;
      const since = Date.UTC(2026, 0, 1);
      assert.equal(await here.store.scheduleState(schedule, since), since);
      assert.equal(await here.store.scheduleState(schedule, since + 5), since);
      assert.equal(await here.store.claimSchedule(schedule, since, here.task()), false);
      const claims = await Promise.all(
        Array.from({ length: 10 }, () => here.store.claimSchedule(schedule, since + minute, here.task())),
      );
      assert.equal(claims.filter(Boolean).length, 1);
      assert.equal((await here.take()).length, 1);
      assert.equal(await here.store.scheduleState(schedule, since), since + minute);
      assert.equal(await here.store.claimSchedule(schedule, since + 1, here.task()), false);
      assert.equal(await here.store.claimSchedule(schedule, since + 3 * minute, here.task()), true);
    });

    test("tells who listens of what became due and of what shall stop", async () => {
      await using here = await at();
      const events: StoreEvent[] = [];
      const subscription = await here.store.subscribe((event) => events.push(event));
      const heard = (matches: (event: StoreEvent) => boolean, what: string) =>
        eventually(async () => (events.some(matches) ? true : undefined), what);
      await here.put();
      await heard((event) => event.kind === "ready" && event.queue === here.queue, "ready");
      const claimed = await here.takeOne();
      await here.store.cancel(claimed.id, minute);
      await heard((event) => event.kind === "cancel" && event.id === claimed.id, "cancel");
      await here.store.pause(here.queue);
      events.length = 0;
      await here.store.resume(here.queue);
      await heard((event) => event.kind === "ready" && event.queue === here.queue, "ready after resume");
      await subscription.close();
      await subscription.close();
    });

    test("loses nothing and settles nothing twice when many work at once", async () => {
      await using here = await at();
      const events: TaskEvent[] = [];
      const total = 600;
      const tasks = Array.from({ length: total }, (_, i) =>
        here.task({
          priority: (i % 4) as 0 | 1 | 2 | 3,
          concurrency: i % 5 === 0 ? { key: `${here.queue}:${i % 3}`, max: 2 } : undefined,
        }),
      );
      for (let i = 0; i < total; i += 100) {
        for (const { id } of await here.store.enqueue({ tasks: tasks.slice(i, i + 100) })) events.push({ kind: "enqueued", id });
      }
      let through = 0;
      let random = 1;
      const next = () => (random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32;
      const worker = async (): Promise<void> => {
        for (let empty = 0; empty < 300 && through < total;) {
          const claimed = await here.take(16);
          for (const { id, attempt, lease } of claimed) events.push({ kind: "started", id, attempt, lease });
          if (claimed.length === 0) {
            empty++;
            await wait(5);
            continue;
          }
          const settlements = claimed.map((task): Settlement => {
            const luck = next();
            if (luck < 0.1) return { kind: "retry", task, delayMs: 0, error: "{}" };
            if (luck < 0.15) return { kind: "release", task, delayMs: 0 };
            if (luck < 0.2) return { kind: "dead", task, reason: "fatal", error: "{}", keepMs: minute };
            return complete(task, { keepMs: luck < 0.6 ? 0 : minute });
          });
          // Half of them are sent twice at once: one answer counts.
          const twice = next() < 0.5;
          const answers = await Promise.all([here.settle(...settlements), ...(twice ? [here.settle(...settlements)] : [])]);
          for (const [i, { kind, task }] of settlements.entries()) {
            for (const answer of answers) {
              events.push({ kind: "settled", ...task, as: kind, answer: answer[i] as "settled" | "fenced" });
              if (answer[i] === "settled" && kind !== "retry" && kind !== "release") through++;
            }
          }
        }
      };
      await Promise.all(Array.from({ length: 6 }, worker));
      const verdict = judgeHistory(events);
      assert.deepEqual(verdict.problems.slice(0, 3), []);
      assert.equal(verdict.tasks, total);
      assert.equal(through, total);
      assert.equal(verdict.repeated, 0);
    });

    if (transaction) {
      test("has a task if and only if the transaction that it was enqueued in has committed", async () => {
        await using here = await at();
        const committed = [here.task(), here.task({ unique: { key: `${here.queue}:tx`, until: "finished" } })];
        const [entered, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        const open = transaction(here.store, async (tx) => {
          for (const task of committed) await here.store.enqueue({ tasks: [task] }, { in: tx });
          entered.resolve();
          await left.promise;
        });
        await Promise.race([entered.promise, open]);
        try {
          assert.deepEqual(await here.take(), [], "nothing before the commit");
        } finally {
          left.resolve();
          await open;
        }
        const found = new Set<string>();
        await eventually(async () => {
          for (const id of await here.ids()) found.add(id);
          return found.size === committed.length || undefined;
        }, "both tasks are there");
        assert.deepEqual(found, new Set(committed.map(({ id }) => id)));

        const rolledBack = [here.task(), here.task({ unique: { key: `${here.queue}:back`, until: "finished" } })];
        await assert.rejects(
          transaction(here.store, async (tx) => {
            await here.store.enqueue({ tasks: rolledBack }, { in: tx });
            throw new Error("rolled back");
          }),
          /rolled back/,
        );
        // The key is free: what was rolled back has never held it.
        const after = await here.put({ unique: { key: `${here.queue}:back`, until: "finished" } });
        await eventually(async () => ((await here.ids()).includes(after) ? true : undefined), "the task after it is there");
        assert.deepEqual(await here.take(), []);
        for (const { id } of rolledBack) assert.equal(await here.store.show(id), undefined);
      });

      test("does not let an open transaction hold up who fetches, settles or enqueues something else", async () => {
        await using here = await at();
        const unique = { key: `${here.queue}:held`, until: "started" } as const;
        await here.put({ unique });
        const [entered, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        const open = transaction(here.store, async (tx) => {
          const [outcome] = await here.store.enqueue({ tasks: [here.task({ unique })] }, { in: tx });
          assert.equal(outcome?.accepted, false);
          entered.resolve();
          await left.promise;
        });
        await Promise.race([entered.promise, open]);
        try {
          const claimed = await here.takeOne();
          assert.deepEqual(await here.settle(complete(claimed)), ["settled"]);
          await here.put();
          assert.equal((await here.take()).length, 1);
        } finally {
          left.resolve();
          await open;
        }
      });
    }

    test("says no to whoever uses it after it was closed, or is harmless", async () => {
      const here = await at();
      await here.store.close();
      await assert.rejects(async () => {
        await here.store.subscribe(() => {});
      });
    });
  });
}
