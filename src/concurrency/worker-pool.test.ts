import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { MillraceError } from "../core/index.ts";
import { type WorkerTaskMessage, workerTaskChannel } from "./channels.ts";
import { runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { transfer } from "./transfer.ts";
import { type WorkerPoolOptions, createWorkerPool, workerModule } from "./worker-pool.ts";

const mill = workerModule<typeof import("./fixtures/mill.worker.ts")>(new URL("./fixtures/mill.worker.ts", import.meta.url));
const broken = workerModule<typeof import("./fixtures/broken.worker.ts")>(new URL("./fixtures/broken.worker.ts", import.meta.url));

/** Threads start slowly on a busy machine; nothing here waits so long on a quiet one. */
const patient = { deadline: "60s", closeTimeout: "30s" } as const satisfies WorkerPoolOptions;

const failure = async (promise: Promise<unknown>): Promise<Error & { readonly code?: string }> => {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  return assert.fail("it should have failed");
};

test("what would hold up the event loop runs on a thread", async () => {
  const grains = [1, 2, 3];
  // #region worker-pool
  const millModule = workerModule<typeof import("./fixtures/mill.worker.ts")>(
    new URL("./fixtures/mill.worker.ts", import.meta.url),
  );

  await using pool = createWorkerPool({ threads: 2 });
  const flour = await pool.run(millModule, "grind", { grains }, { deadline: "30s" }); // a number: types come from the module
  // #endregion
  const weight: number = flour;
  assert.equal(weight, 6);
});

suite("a task", () => {
  test("runs in the context of the work that asked for it", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    using deadline = new Deadline({ timeoutMs: 50_000 });
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    const seen = await runInContext({ requestId: "req-7", deadline, principalId: "user-5", tenant: "mill", trace }, () =>
      pool.run(mill, "context", undefined),
    );
    const { remainingMs, ...rest } = seen;
    assert.deepEqual(rest, { requestId: "req-7", principalId: "user-5", tenant: "mill", trace });
    assert.ok(remainingMs > 0 && remainingMs <= 50_000, `${remainingMs}`);
  });

  test("that throws fails with what it threw, fields and all, and its thread lives on", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    const before = await pool.run(mill, "thread", 0);
    const kit = await failure(pool.run(mill, "fail", "kit"));
    assert.ok(kit instanceof MillraceError);
    assert.equal(kit.code, "MILLRACE_CHANNEL_FULL");
    assert.deepEqual(kit.details, { waiting: 3, capacity: 1 });
    assert.equal(kit.retryable, true);
    assert.equal((kit.cause as Error).message, "drought");
    const plain = await failure(pool.run(mill, "fail", "plain"));
    assert.ok(plain instanceof RangeError);
    assert.equal((plain as unknown as { sacks: number }).sacks, 9);
    assert.equal(await failure(pool.run(mill, "fail", "text")), "a text");
    assert.equal((await failure(pool.run(mill, "fail", "uncloneable"))).message, "holds a function");
    assert.equal(await pool.run(mill, "thread", 0), before);
  });

  test("moves memory instead of copying it, both ways, where that is said", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    const pixels = new Uint8Array(1_000).fill(1);
    const inverted = await pool.run(mill, "invert", transfer(pixels, [pixels.buffer]));
    assert.equal(pixels.length, 0, "gone on this side");
    assert.equal(inverted.length, 1_000);
    assert.equal(inverted[0], 254);
    const copied = await pool.run(mill, "invert", inverted);
    assert.equal(inverted[0], 254);
    assert.equal(copied[0], 1);
  });

  test("that does not exist, does not load, or cannot cross says so", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    const missing = await failure(pool.run(mill, "millstone" as "grind", { grains: [] }));
    assert.equal(missing.code, "MILLRACE_WORKER_TASK_INVALID");
    assert.match(missing.message, /mill\.worker\.ts#millstone .* no such function/);
    assert.equal((await failure(pool.run(mill, "notATask" as "grind", { grains: [] }))).code, "MILLRACE_WORKER_TASK_INVALID");
    const unloaded = await failure(pool.run(broken, "anything", undefined));
    assert.equal(unloaded.code, "MILLRACE_WORKER_TASK_INVALID");
    assert.equal((unloaded.cause as Error).message, "this module does not load");
    const input = await failure(pool.run(mill, "grind", { grains: [], extra: () => 5 } as never));
    assert.equal(input.code, "MILLRACE_WORKER_TASK_INVALID");
    assert.match(input.message, /could not be cloned/);
    const result = await failure(pool.run(mill, "uncloneable", undefined));
    assert.equal(result.code, "MILLRACE_WORKER_TASK_INVALID");
    assert.equal(await pool.run(mill, "grind", { grains: [1] }), 1, "the pool goes on");
    assert.throws(() => workerModule(new URL("http://127.0.0.1/x.js")), { code: "MILLRACE_WORKER_TASK_INVALID" });
  });
});

suite("a thread that", () => {
  test("hangs is ended at the deadline of its task and replaced", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    await pool.run(mill, "grind", { grains: [1] }); // it has started
    const error = await failure(pool.run(mill, "hang", undefined, { deadline: "200ms" }));
    assert.equal(error.code, "MILLRACE_DEADLINE_EXCEEDED");
    assert.equal(await pool.run(mill, "grind", { grains: [2] }), 2);
    assert.deepEqual(pool.stats(), { threads: 1, running: 0, waiting: 0 });
  });

  test("computes for a caller who leaves is ended", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    const flag = new SharedArrayBuffer(4);
    const controller = new AbortController();
    const hanging = failure(pool.run(mill, "announceAndHang", flag, { signal: controller.signal }));
    const waiting = pool.run(mill, "grind", { grains: [3] });
    while (Atomics.load(new Int32Array(flag), 0) === 0) await setImmediate();
    const left = new Error("the client left");
    controller.abort(left);
    assert.equal(await hanging, left);
    assert.equal(await waiting, 3, "the next task has a thread");
  });

  test("runs out of memory, exits or crashes fails its own task and nobody else's", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 2, maxHeapMb: 32 });
    const lost: string[] = [];
    using _subscription = workerTaskChannel.subscribe(({ outcome, task }) => void (outcome === "lost" && lost.push(task)));
    const beside = Array.from({ length: 8 }, (_, i) => pool.run(mill, "grind", { grains: [i, 1] }));
    const errors = await Promise.all([
      failure(pool.run(mill, "devour", undefined)),
      failure(pool.run(mill, "leave", 3)),
      failure(pool.run(mill, "leave", 0)),
      failure(pool.run(mill, "crashLater", undefined)),
      failure(pool.run(mill, "rejectLater", undefined)),
    ]);
    for (const error of errors) assert.equal(error.code, "MILLRACE_WORKER_LOST", error.message);
    assert.match(errors[0]!.message, /mill\.worker\.ts#devour .* memory/);
    assert.match(errors[1]!.message, /exited with code: 3/);
    assert.match(errors[3]!.message, /nobody catches this/);
    assert.deepEqual(
      await Promise.all(beside),
      Array.from({ length: 8 }, (_, i) => i + 1),
    );
    assert.equal(await pool.run(mill, "grind", { grains: [4] }), 4);
    assert.equal(lost.length, 5);
  });

  test("cannot even start fails the task in the end, instead of holding it for ever", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1, execArgv: ["--import", "data:text/javascript,process.exit(5)"] });
    const error = await failure(pool.run(mill, "grind", { grains: [1] }));
    assert.match(error.code!, /^MILLRACE_WORKER_(?:START_FAILED|LOST)$/);
  });
});

suite("a pool", () => {
  test("uses all its threads, lets so many tasks wait, and refuses the next", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 2, maxQueue: 2, name: "the mill" });
    const ended: Promise<WorkerTaskMessage> = workerTaskChannel.next(({ outcome }) => outcome === "refused");
    const tasks = Array.from({ length: 4 }, () => pool.run(mill, "thread", 50));
    const error = await failure(pool.run(mill, "thread", 0));
    assert.equal(error.code, "MILLRACE_WORKER_QUEUE_FULL");
    assert.equal(error.message, "All 2 threads of the mill are busy and 2 tasks already wait. Try again later.");
    assert.equal((error as MillraceError).retryable, true);
    assert.deepEqual(
      { ...(await ended), waitedMs: 0 },
      {
        pool: "the mill",
        task: "mill.worker.ts#thread",
        outcome: "refused",
        waitedMs: 0,
        ranMs: 0,
      },
    );
    assert.equal(new Set(await Promise.all(tasks)).size, 2);
    assert.deepEqual(pool.stats(), { threads: 2, running: 0, waiting: 0 });
  });

  test("takes tasks in the order of asking, and none whose caller has left", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 1 });
    const order: string[] = [];
    const controller = new AbortController();
    const note = (name: string) => () => void order.push(name);
    const tasks = [
      pool.run(mill, "thread", 20).then(note("first")),
      pool.run(mill, "thread", 0, { signal: controller.signal }).then(note("left"), note("gone")),
      pool.run(mill, "thread", 0).then(note("third")),
      pool.run(mill, "thread", 0).then(note("fourth")),
    ];
    assert.equal(pool.stats().waiting, 3);
    controller.abort();
    await Promise.all(tasks);
    assert.deepEqual(order, ["gone", "first", "third", "fourth"]);
  });

  test("that closes finishes what it has, waiting tasks too, and takes nothing new", async () => {
    const pool = createWorkerPool({ ...patient, threads: 1 });
    const tasks = [pool.run(mill, "thread", 20), pool.run(mill, "grind", { grains: [1] })];
    const closing = pool.close();
    assert.equal((await failure(pool.run(mill, "grind", { grains: [2] }))).code, "MILLRACE_CLOSED");
    assert.equal(pool.close(), closing);
    await closing;
    assert.equal(await tasks[1], 1);
    assert.equal(pool.stats().threads, 0);
  });

  test("that closes ends what does not end by itself in time", async () => {
    const pool = createWorkerPool({ ...patient, threads: 1, closeTimeout: "100ms" });
    const hanging = failure(pool.run(mill, "hang", undefined));
    await pool.close();
    assert.equal((await hanging).code, "MILLRACE_CLOSED");
  });

  test("that was never used closes at once", async () => {
    await createWorkerPool().close();
  });

  test("leaves no thread behind when tasks are aborted while threads start", async () => {
    await using pool = createWorkerPool({ ...patient, threads: 2 });
    for (let round = 0; round < 3; round++) {
      const controller = new AbortController();
      const gone = [1, 2, 3].map(() => failure(pool.run(mill, "hang", undefined, { signal: controller.signal })));
      const kept = pool.run(mill, "grind", { grains: [round] });
      if (round > 0) await setImmediate();
      controller.abort();
      await Promise.all(gone);
      assert.equal(await kept, round);
    }
    assert.ok(pool.stats().threads <= 2);
  });
});
