// The Redis task store on servers that are away, slow, full, evicting, restarted or a cluster; and what it leaves behind.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, suite, test } from "node:test";
import { type NewTask, type StoreEvent, type TaskLease, type TaskStore, redisTaskStore } from "../../src/tasks/index.ts";
import { eventually } from "../harness/patience.ts";
import { type TestRedis, testRedis, testRedisCluster } from "../harness/redis.ts";

const unavailable = { code: "MILLRACE_TASKS_STORE_UNAVAILABLE", retryable: true };
const minute = 60_000;
const demand = [{ queue: "q", limit: 100 }];
const holder = { worker: "w", leaseMs: minute };
const newTask = (more: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  queue: "q",
  name: "grind",
  input: "null",
  priority: 2,
  ...more,
});
const complete = (task: TaskLease) => ({ kind: "complete", task, keepMs: 0 }) as const;

/** A store without a hurry: the machine that runs tests may be slow. */
const patient = (server: TestRedis): TaskStore => redisTaskStore({ url: server.url, timeout: "20s" });

const answers = (store: TaskStore) =>
  store.queues().then(
    () => true,
    () => false,
  );

suite("a Redis task store on a server that fails", () => {
  test("says so at once when nobody is there, and does nothing by halves", async () => {
    await using store = redisTaskStore({ url: "redis://127.0.0.1:1" });
    await assert.rejects(store.setup(), unavailable);
    await assert.rejects(store.enqueue({ tasks: [newTask()] }), unavailable);
    await assert.rejects(store.fetch(demand, holder), unavailable);
    await assert.rejects(store.settle([complete({ id: randomUUID(), attempt: 1, lease: "x" })]), unavailable);
  });

  test("is bounded by its timeout on a server that has stopped, and what was asked for then happened once or not at all", async () => {
    await using server = await testRedis();
    await using store = redisTaskStore({ url: server.url, timeout: "300ms" });
    await eventually("connected", () => answers(store));
    const tasks = [newTask(), newTask()];
    await server.pause();
    try {
      await assert.rejects(store.enqueue({ tasks }), unavailable);
    } finally {
      server.resume();
    }
    await using other = patient(server);
    await eventually("asking again is safe", async () => (await other.enqueue({ tasks })).length === 2);
    const claimed = await other.fetch(demand, holder);
    assert.deepEqual(claimed.map(({ id }) => id).toSorted(), tasks.map(({ id }) => id).toSorted());
  });

  test("keeps what it has acknowledged through a SIGKILL, with an append-only file that is always synced", async () => {
    await using server = await testRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    await using store = patient(server);
    await store.setup();
    const tasks = Array.from({ length: 50 }, () => newTask());
    await store.enqueue({ tasks });
    const [first, ...held] = await store.fetch([{ queue: "q", limit: 20 }], holder);
    await store.settle([complete(first!)]);
    await server.kill();
    await assert.rejects(store.fetch(demand, holder), unavailable);
    await server.start();
    await eventually("it is used again", () => answers(store));
    assert.deepEqual(await store.settle([complete(first!), ...held.map(complete)]), [
      "fenced",
      ...held.map(() => "settled" as const),
    ]);
    assert.equal((await store.fetch(demand, holder)).length, 30);
  });

  test("loses neither tasks nor leases when its connections are killed, and tells listeners that they may have missed something", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await store.setup();
    const events: StoreEvent[] = [];
    await store.subscribe((event) => events.push(event));
    assert.deepEqual(events, [{ kind: "missed" }], "nobody knows what was before");
    const task = newTask();
    await store.enqueue({ tasks: [task] });
    const [claimed] = await store.fetch(demand, holder);
    for (const type of ["normal", "pubsub"]) await server.command("client", "kill", "type", type);
    await eventually(
      "both are back",
      async () => (await answers(store)) && events.filter(({ kind }) => kind === "missed").length === 2,
    );
    assert.deepEqual(await store.extend([claimed!], minute), ["held"]);
    assert.deepEqual(await store.settle([complete(claimed!)]), ["settled"]);
    await store.enqueue({ tasks: [newTask()] });
    await eventually("it listens again", () => events.at(-1)?.kind === "ready");
  });

  test("says what a server refuses for good as the refusal that it is, so that nobody asks again for ever", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await server.command("set", "millrace:{tasks}:w:q:2", "not a sorted set");
    await assert.rejects(store.enqueue({ tasks: [newTask()] }), { code: "MILLRACE_REDIS_REFUSED", retryable: false });
  });

  test("refuses new tasks when memory is full, says why, and lets workers go on until there is room", async () => {
    await using server = await testRedis({ settings: { "maxmemory-policy": "noeviction" } });
    await using store = patient(server);
    await store.setup();
    const size = 200;
    await store.enqueue({ tasks: Array.from({ length: size }, () => newTask({ input: JSON.stringify("x".repeat(10_000)) })) });
    await server.command("config", "set", "maxmemory", "1mb");
    await assert.rejects(store.enqueue({ tasks: [newTask()] }), (error: Error) => {
      assert.match(error.message, /it is full \(maxmemory is reached\)/);
      return true;
    });
    let through = 0;
    for (;;) {
      const claimed = await store.fetch(demand, holder);
      if (claimed.length === 0) break;
      await store.extend(claimed, minute);
      await store.saveProgress(claimed.map((task) => ({ task, progress: "1" })));
      const outcomes = await store.settle(
        claimed.map((task, i) => (i % 2 ? complete(task) : { kind: "retry", task, delayMs: 0, error: "1" })),
      );
      through += outcomes.filter((outcome, i) => outcome === "settled" && i % 2 === 1).length;
      if (claimed.length === 1) {
        await store.settle([]);
        const [last] = await store.fetch(demand, holder);
        through += (await store.settle([complete(last!)])).length;
      }
    }
    assert.equal(through, size);
    await server.command("config", "set", "maxmemory", "50mb");
    await store.enqueue({ tasks: [newTask()] });
  });
});

suite("setting up a Redis task store", () => {
  const unsuitable = { code: "MILLRACE_TASKS_REDIS_UNSUITABLE" };

  test("refuses a server that would evict tasks, and takes one that evicts only what has a time to live", async () => {
    await using server = await testRedis({ settings: { maxmemory: "100mb", "maxmemory-policy": "allkeys-lru" } });
    await using store = patient(server);
    await assert.rejects(store.setup(), unsuitable);
    await server.command("config", "set", "maxmemory-policy", "volatile-lru");
    await store.setup();
    const unique = { key: "k", until: minute } as const;
    await store.enqueue({ tasks: [newTask({ unique, concurrency: { key: "c", max: 1 } }), newTask()] });
    await store.fetch([{ queue: "q", limit: 5, rate: { max: 5, perMs: minute } }], holder);
    for (const key of (await server.command("keys", "*")) as string[]) assert.equal(await server.command("pttl", key), -1, key);
  });

  test("refuses a replica, and keys of a newer version", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await server.command("set", "millrace:{tasks}:v", 99);
    await assert.rejects(store.setup(), unsuitable);
    await server.command("del", "millrace:{tasks}:v");
    await server.command("replicaof", "127.0.0.1", 1);
    await assert.rejects(store.setup(), unsuitable);
  });
});

suite("what a Redis task store leaves", () => {
  let server: TestRedis;
  before(async () => (server = await testRedis()));
  after(() => server[Symbol.asyncDispose]());

  test("is nothing, once everything is through and was kept long enough", async () => {
    await using store = redisTaskStore({ url: server.url, timeout: "20s", prefix: "left:" });
    const group = randomUUID();
    const key = { key: "c", max: 2 };
    await store.enqueue({
      tasks: [
        newTask({ concurrency: key }),
        newTask({ concurrency: key, delayMs: 1 }),
        newTask({ concurrency: key, input: JSON.stringify("long".repeat(50)) }),
        newTask({ unique: { key: "f", until: "finished" } }),
        newTask({ unique: { key: "s", until: "started" } }),
        newTask({ unique: { key: "t", until: 1 } }),
        newTask({ group }),
        newTask({ group, delayMs: 1 }),
        newTask({ delayMs: minute, name: "cancelled" }),
        newTask({ name: "dead" }),
        newTask({ name: "discarded" }),
      ],
      groups: [{ id: group, size: 2, when: "settled", keepMs: 1, callback: newTask({ name: "callback" }) }],
    });
    const [cancelled] = await store.list({ name: "cancelled", limit: 1 });
    await store.cancel(cancelled!.id, 1);
    let through = 0;
    await eventually("all is through", async () => {
      for (const task of await store.fetch(demand, holder)) {
        const isDead = task.name === "dead" || task.name === "discarded";
        const keepMs = task.name === "discarded" ? minute : through % 2;
        const [outcome] = await store.settle([
          isDead
            ? { kind: "dead", task, reason: "fatal", error: "1", keepMs }
            : through === 3 && task.attempt === 1
              ? { kind: "retry", task, delayMs: 1, error: "1" }
              : { kind: "complete", task, keepMs, result: "1" },
        ]);
        assert.equal(outcome, "settled");
        through++;
      }
      return through >= 12;
    });
    assert.equal((await store.discard({ name: "discarded", limit: 10 })).length, 1);
    await eventually("everything went", async () => {
      await store.cleanUp({ limit: 3 });
      return ((await server.command("keys", "left:*")) as string[]).length === 0;
    });
  });

  test("is one key per store and format after setup()", async () => {
    await using store = redisTaskStore({ url: server.url, timeout: "20s", prefix: "empty:" });
    await store.setup();
    assert.deepEqual(await server.command("keys", "empty:*"), ["empty:{tasks}:v"]);
  });
});

suite("a Redis task store", () => {
  test("works on a cluster, whatever the names of keys", async () => {
    await using cluster = await testRedisCluster();
    using client = cluster.client();
    await using store = redisTaskStore({ client, timeout: "20s" });
    await eventually("connected", () => client.status === "ready");
    await store.setup();
    const group = randomUUID();
    await store.enqueue({
      tasks: [
        newTask({ concurrency: { key: "a}{b:c", max: 1 }, unique: { key: "{x}", until: "finished" }, group }),
        newTask({ concurrency: { key: "a}{b:c", max: 1 }, group, queue: "other" }),
      ],
      groups: [{ id: group, size: 2, when: "completed", keepMs: 0, callback: newTask({ name: "callback", queue: "third" }) }],
    });
    const both = [...demand, { queue: "other", limit: 5 }];
    for (let i = 0; i < 2; i++) {
      const claimed = await store.fetch(both, holder);
      assert.equal(claimed.length, 1, "one of the key at a time, across queues");
      await store.settle(claimed.map((task) => ({ kind: "complete", task, keepMs: 0 })));
    }
    assert.equal((await store.fetch([{ queue: "third", limit: 5 }], holder))[0]?.name, "callback");
  });

  test("takes a batch that is too large for the arguments of a command, and keeps its order", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const tasks = Array.from({ length: 15_000 }, (_, i) => newTask({ input: String(i) }));
    const outcomes = await store.enqueue({ tasks });
    assert.ok(outcomes.every(({ accepted }) => accepted));
    const claimed = await store.fetch([{ queue: "q", limit: 15_000 }], holder);
    assert.deepEqual(
      claimed.map(({ id }) => id),
      tasks.map(({ id }) => id),
    );
    assert.equal((await store.settle(claimed.map(complete))).filter((outcome) => outcome === "settled").length, 15_000);
  });

  test("tells of a task when it is the next of its place, and only then", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const events: StoreEvent[] = [];
    await store.subscribe((event) => events.push(event));
    const ready = () => events.filter(({ kind }) => kind === "ready").length;
    /** A marker of another queue: when it is heard, what was told before was heard. */
    let markers = 0;
    const heard = async () => {
      const queue = `marker-${++markers}`;
      await store.enqueue({ tasks: [newTask({ queue })] });
      await eventually("the marker", () => events.some((event) => event.kind === "ready" && event.queue === queue));
      return ready() - markers;
    };
    await store.enqueue({ tasks: [newTask({ delayMs: minute })] });
    assert.equal(await heard(), 1, "the first, to set a timer by");
    await store.enqueue({ tasks: [newTask({ delayMs: 2 * minute })] });
    assert.equal(await heard(), 1, "it comes after it");
    await store.enqueue({ tasks: [newTask(), newTask()] });
    assert.equal(await heard(), 2, "due before those");
    await store.enqueue({ tasks: [newTask()] });
    assert.equal(await heard(), 2, "whoever is free has heard");
    await store.enqueue({ tasks: [newTask({ priority: 0 })] });
    assert.equal(await heard(), 3, "the first of its rank");
  });

  test("settles a lease once, also when a batch names it twice", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const group = {
      id: randomUUID(),
      size: 2,
      when: "completed",
      keepMs: minute,
      callback: newTask({ name: "callback" }),
    } as const;
    await store.enqueue({ tasks: [newTask({ group: group.id }), newTask({ group: group.id })], groups: [group] });
    const [first, second] = await store.fetch(demand, holder);
    assert.deepEqual(await store.settle([complete(first!), complete(first!)]), ["settled", "fenced"]);
    assert.deepEqual(await store.fetch(demand, holder), [], "the group waits for the other one");
    const back = { kind: "release", task: second!, delayMs: 0 } as const;
    assert.deepEqual(await store.settle([back, complete(second!), back]), ["settled", "fenced", "fenced"]);
    assert.deepEqual(
      (await store.fetch(demand, holder)).map(({ id }) => id),
      [second!.id],
    );
    await store.enqueue({ tasks: [newTask({ queue: "gone" })] });
    const [brief] = await store.fetch([{ queue: "gone", limit: 1 }], holder);
    assert.deepEqual(await store.settle([complete(brief!), complete(brief!)]), ["settled", "fenced"]);
  });

  test("finds its dead among many, of several queues, in the order of ids", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const ids = Array.from({ length: 1_250 }, (_, i) => `00000000-0000-7000-8000-${String(i).padStart(12, "0")}`);
    const tasks = ids.map((id, i) => newTask({ id, queue: `q${i % 3}`, name: i % 400 === 7 ? "rare" : "usual" }));
    await store.enqueue({ tasks });
    const claimed = await store.fetch(
      [0, 1, 2].map((i) => ({ queue: `q${i}`, limit: 500 })),
      holder,
    );
    await store.settle(claimed.map((task) => ({ kind: "dead", task, reason: "fatal", error: "1", keepMs: minute })));
    const idsOf = async (filter: object) => (await store.list({ state: "dead", limit: 1_000, ...filter })).map(({ id }) => id);
    assert.deepEqual(await idsOf({}), ids.toReversed().slice(0, 1_000));
    assert.deepEqual(await idsOf({ before: ids[250] }), ids.slice(0, 250).toReversed());
    const rare = [7, 407, 807, 1_207].map((i) => ids[i]!);
    assert.deepEqual(await idsOf({ name: "rare" }), rare.toReversed());
    assert.deepEqual(await store.discard({ name: "rare", limit: 3 }), rare.slice(0, 3));
    assert.deepEqual(await store.redrive({ ids: [...ids.slice(0, 700), ids[900]!], name: "usual", limit: 2_000 }), [
      ...ids.slice(0, 700).filter((id) => !rare.includes(id)),
      ids[900],
    ]);
    assert.equal((await store.redrive({ queue: "q1", limit: 5 })).length, 5);
  });

  test("takes tasks of several keys in turn, one of each", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const of = (key: string) => Array.from({ length: 20 }, () => newTask({ name: key, concurrency: { key, max: 50 } }));
    await store.enqueue({ tasks: [...of("a"), ...of("b"), ...of("c")] });
    for (let i = 0; i < 3; i++) {
      const names = (await store.fetch([{ queue: "q", limit: 6 }], holder)).map(({ name }) => name);
      assert.deepEqual(names.toSorted(), ["a", "a", "b", "b", "c", "c"]);
    }
  });

  test("passes over a thousand keys without room and finds the one that has some", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const full = (i: number) => newTask({ concurrency: { key: `k${i}`, max: 1 } });
    await store.enqueue({ tasks: Array.from({ length: 1_500 }, (_, i) => full(i)) });
    assert.equal((await store.fetch([{ queue: "q", limit: 5_000 }], holder)).length, 1_500);
    await store.enqueue({ tasks: Array.from({ length: 1_500 }, (_, i) => full(i)) });
    const free = newTask({ concurrency: { key: "free", max: 1 } });
    await store.enqueue({ tasks: [free] });
    const found = [...(await store.fetch(demand, holder)), ...(await store.fetch(demand, holder))];
    assert.deepEqual(
      found.map(({ id }) => id),
      [free.id],
    );
    assert.equal(await store.nextDue(demand), undefined, "nobody looks again for nothing");
  });

  test("ends a group whose member was there already by its unique key, and one whose dead were kept long enough", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const unique = { key: "u", until: "finished" } as const;
    await store.enqueue({ tasks: [newTask({ unique })] });
    const group = (when: "completed" | "settled") => ({
      id: randomUUID(),
      size: 2,
      when,
      keepMs: 1,
      callback: newTask({ name: "callback" }),
    });
    const first = group("completed");
    await store.enqueue({ tasks: [newTask({ group: first.id, unique }), newTask({ group: first.id })], groups: [first] });
    assert.equal((await store.settle((await store.fetch(demand, holder)).map(complete))).length, 2);
    assert.equal((await store.fetch(demand, holder))[0]?.name, "callback");
    const second = group("completed");
    await store.enqueue({ tasks: [newTask({ group: second.id }), newTask({ group: second.id })], groups: [second] });
    const [one, two] = await store.fetch(demand, holder);
    await store.settle([complete(one!), { kind: "dead", task: two!, reason: "fatal", error: "1", keepMs: 1 }]);
    await eventually("the dead one is forgotten", async () => {
      await store.cleanUp({ limit: 10 });
      return (await store.fetch(demand, holder))[0]?.name === "callback";
    });
  });
});
