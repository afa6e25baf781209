// Tasks that run: on a real PostgreSQL, in this process.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase, sql } from "millrace/database";
import { type TaskEndMessage, type TaskRun, createTasks, task, taskAbandonedChannel, tasksErrors } from "millrace/tasks";
import { Type } from "typebox";
import { testDatabase } from "../harness/postgres.ts";
import { passTime } from "./pass-time.ts";
import { nextEnd, silent, taskService } from "./service.ts";

const Numbered = Type.Object({ n: Type.Integer() });

/** Something that a test lets go on. */
const gate = () => Promise.withResolvers<void>();

test("a service with tasks is what its page shows", async () => {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url });
  const mailed: number[] = [];
  const sendWelcome = task("send-welcome", { input: Type.Object({ userId: Type.Integer() }), queue: "mail" }, ({ input }) => {
    mailed.push(input.userId);
  });
  await database.query(sql`create table users (id int generated always as identity, email text)`);
  const logger = silent;
  // #region service
  await using tasks = await createTasks({ database, tasks: [sendWelcome], queues: { mail: { concurrency: 4 } }, logger });
  await tasks.start(); // leave it out where a process only enqueues
  // #endregion
  const ended = nextEnd("send-welcome");
  const email = "ada@example.org";
  // #region enqueue
  const user = await database.transaction(async (tx) => {
    const { id } = await tx.one(sql<{ id: number }>`insert into users (email) values (${email}) returning id`);
    await sendWelcome.enqueue({ userId: id }, { in: tx }); // exists if and only if the user does
    return id;
  });
  // #endregion
  await ended;
  assert.deepEqual(mailed, [user]);
});

suite("a task that is enqueued", () => {
  test("in a transaction runs once that has committed, and its result can be asked for", async () => {
    const double = task("double", { input: Numbered }, ({ input }) => ({ twice: input.n * 2 }));
    await using here = await taskService({ tasks: [double] });
    await here.tasks.start();
    const ended = nextEnd("double");
    const { id, accepted } = await here.db.transaction((tx) => double.enqueue({ n: 21 }, { in: tx }));
    assert.equal(accepted, true);
    const end = await ended;
    assert.equal(end.outcome, "completed");
    const record = await here.tasks.store.show(id);
    assert.equal(record?.state, "completed");
    assert.equal(record.result, '{"twice":42}');
    assert.equal(here.tasks.stats().ended.completed, 1);
  });

  test("in a transaction that is rolled back does not exist", async () => {
    const never = task("never", {}, () => assert.fail("It ran."));
    await using here = await taskService({ tasks: [never] });
    await here.tasks.start();
    await assert.rejects(
      here.db.transaction(async (tx) => {
        await never.enqueue(undefined, { in: tx });
        throw new Error("no");
      }),
    );
    assert.deepEqual(await here.tasks.store.list({ limit: 10 }), []);
  });

  test("may be put into the database, the handle, or another task's transaction", async () => {
    const second = task("second", { input: Numbered }, ({ input }) => input.n);
    const first = task("first", { input: Numbered }, async ({ input, db }) => {
      await db.transaction((tx) => second.enqueue({ n: input.n + 1 }, { in: tx }));
    });
    await using here = await taskService({ tasks: [first, second] });
    await here.tasks.start();
    const ended = nextEnd("second");
    await first.enqueue({ n: 1 }, { in: here.db });
    const { id } = await ended;
    assert.equal((await here.tasks.store.show(id))?.result, "2");
    const again = nextEnd("second");
    await second.enqueue({ n: 5 }, { in: here.tasks });
    assert.equal((await again).outcome, "completed");
  });

  test("is refused where nobody has it, and inside a transaction that it is not put into", async () => {
    const known = task("known", {}, () => {});
    const unknown = task("unknown", {}, () => {});
    await using here = await taskService({ tasks: [known] });
    await assert.rejects(unknown.enqueue(undefined, { in: here.db }), { code: "MILLRACE_TASKS_UNBOUND" });
    await here.db.transaction(async () => {
      await assert.rejects(known.enqueue(undefined, { in: here.db }), { code: "MILLRACE_DATABASE_TRANSACTION_OPEN" });
    });
    await here.tasks.close();
    await assert.rejects(known.enqueue(undefined, { in: here.db }), { code: "MILLRACE_TASKS_UNBOUND" });
  });

  test("with an input that does not fit is refused, and with it its transaction", async () => {
    const double = task("double", { input: Numbered }, () => {});
    await using here = await taskService({ tasks: [double] });
    await assert.rejects(
      here.db.transaction((tx) => double.enqueue({ n: 1.5 }, { in: tx })),
      (error) => tasksErrors.is(error, "MILLRACE_TASKS_INPUT_INVALID"),
    );
    assert.deepEqual(await here.tasks.store.list({ limit: 10 }), []);
  });

  test("costs its transaction one statement", async () => {
    const quick = task("quick", { input: Numbered }, () => {});
    await using here = await taskService({ tasks: [quick] });
    await here.db.query(sql`create table before_and_after (calls bigint)`);
    const { queryChannel } = await import("millrace/database");
    const seen: string[] = [];
    using _watch = queryChannel.subscribe(({ path, text }) => void (path === "transaction" && seen.push(text)));
    await here.db.transaction((tx) => quick.enqueue({ n: 1 }, { in: tx }));
    assert.equal(seen.length, 1, seen.join("\n"));
    assert.ok(!/notify/i.test(seen[0]!));
  });
});

suite("a task that fails", () => {
  test("is tried again after a pause, and dead when no attempt is left", async () => {
    const attempts: number[] = [];
    const failing = task("failing", { retry: { attempts: 3, base: "1ms" } }, ({ attempt }) => {
      attempts.push(attempt);
      throw new Error(`attempt ${attempt}`);
    });
    await using here = await taskService({ tasks: [failing] });
    const ends: TaskEndMessage[] = [];
    await here.tasks.start();
    for (let ended = nextEnd("failing"); ends.length < 3; ended = nextEnd("failing")) {
      if (ends.length === 0) await failing.enqueue(undefined, { in: here.db });
      ends.push(await ended);
      if (ends.length === 3) break;
    }
    assert.deepEqual(
      ends.map(({ outcome }) => outcome),
      ["retried", "retried", "dead"],
    );
    assert.deepEqual(attempts, [1, 2, 3]);
    assert.equal(ends[2]!.deadReason, "attempts");
    const record = await here.tasks.store.show(ends[0]!.id);
    assert.equal(record?.state, "dead");
    assert.match(record.error!, /attempt 3/);
  });

  test("with an error that says it is for good is dead at once, unless `retry.on` thinks otherwise", async () => {
    const fatal = () => {
      throw Object.assign(new Error("no such mailbox"), { retryable: false });
    };
    const plain = task("plain", {}, fatal);
    const stubborn = task("stubborn", { retry: { on: () => "90d" } }, fatal);
    const picky = task("picky", { retry: { on: (error) => !/mailbox/.test(String(error)) } }, () => {
      throw new Error("no such mailbox");
    });
    await using here = await taskService({ tasks: [plain, stubborn, picky] });
    await here.tasks.start();
    const ends = [plain, stubborn, picky].map(({ name }) => nextEnd(name));
    for (const each of [plain, stubborn, picky]) await each.enqueue(undefined, { in: here.db });
    const [first, second, third] = await Promise.all(ends);
    assert.deepEqual([first!.outcome, first!.deadReason], ["dead", "fatal"]);
    assert.deepEqual([second!.outcome, second!.delayMs], ["retried", 90 * 86_400_000]);
    assert.deepEqual([third!.outcome, third!.deadReason], ["dead", "fatal"]);
  });

  test("because its mail server is down for an hour is sent once when that is back", async () => {
    let up = false;
    let sent = 0;
    const mail = task("mail", {}, () => {
      if (!up) throw new Error("connect ECONNREFUSED");
      sent++;
    });
    await using here = await taskService({ tasks: [mail], random: () => 1 });
    await here.tasks.start();
    let passedMs = 0;
    let attempts = 0;
    let ended = nextEnd("mail");
    const { id } = await mail.enqueue(undefined, { in: here.db });
    for (;;) {
      const end = await ended;
      attempts++;
      if (end.outcome === "completed") break;
      assert.equal(end.outcome, "retried");
      up = passedMs > 3_600_000;
      passedMs += end.delayMs!;
      ended = nextEnd("mail");
      await passTime(here.db, end.delayMs!);
      await here.tasks.store.makeDue(id); // the clock of the tables has moved, which nobody was told
    }
    assert.equal(sent, 1);
    assert.ok(attempts >= 12 && attempts <= 15, `${attempts} attempts`);
    assert.ok(passedMs < 3 * 3_600_000, "not long after it was back");
  });

  test("by killing its workers is dead before it has killed them all", async () => {
    let ran = 0;
    const poison = task("poison", { retry: { attempts: 2 } }, () => void ran++);
    await using here = await taskService({ tasks: [poison] });
    const { id } = await poison.enqueue(undefined, { in: here.db });
    for (let crash = 0; crash < 2; crash++) {
      const [claimed] = await here.tasks.store.fetch([{ queue: "default", limit: 1 }], { worker: "one that dies", leaseMs: 1_000 });
      assert.equal(claimed?.attempt, crash + 1);
      await passTime(here.db, 2_000);
      await here.tasks.store.recover({ limit: 10, delayMs: 0, keepMs: 0 });
    }
    const ended = nextEnd("poison");
    await here.tasks.start();
    const end = await ended;
    assert.deepEqual([end.outcome, end.deadReason, ran], ["dead", "crashed", 0]);
    assert.match((await here.tasks.store.show(id))!.error!, /begun 2 times/);
  });
});

suite("a running task", () => {
  test("is aborted at its timeout, with the statement that it runs, and tried again", async () => {
    const reasons: unknown[] = [];
    const slow = task("slow", { timeout: "100ms", retry: { attempts: 2, base: "1ms" } }, async ({ attempt, db, deadline }) => {
      if (attempt === 2) return "quick";
      deadline.onAbort((reason) => reasons.push((reason as { code: string }).code));
      return await db.one(sql`select pg_sleep(60)`);
    });
    await using here = await taskService({ tasks: [slow] });
    await here.tasks.start();
    const first = nextEnd("slow");
    await slow.enqueue(undefined, { in: here.db });
    assert.equal((await first).outcome, "retried");
    assert.deepEqual(reasons, ["MILLRACE_DEADLINE_EXCEEDED"]);
    assert.equal((await nextEnd("slow")).outcome, "completed");
  });

  test("that ignores its signal frees its slot after the grace, and what it brings later counts for nothing", async () => {
    const held = gate();
    const runs: number[] = [];
    const deaf = task("deaf", { timeout: "50ms", retry: { attempts: 2, base: "1ms" } }, async ({ attempt }) => {
      runs.push(attempt);
      if (attempt === 1) await held.promise;
      return `attempt ${attempt}`;
    });
    await using here = await taskService({ tasks: [deaf], concurrency: 1, grace: "50ms" });
    await here.tasks.start();
    const abandoned = taskAbandonedChannel.next(() => true, AbortSignal.timeout(20_000));
    const first = nextEnd("deaf");
    const { id } = await deaf.enqueue(undefined, { in: here.db });
    assert.equal((await abandoned).id, id);
    const second = first.then(() => nextEnd("deaf"));
    assert.equal((await first).outcome, "retried");
    assert.equal((await second).outcome, "completed");
    held.resolve();
    assert.deepEqual(runs, [1, 2]);
    assert.equal((await here.tasks.store.show(id))?.result, '"attempt 2"');
  });

  test("is stopped by cancel(), and not tried again", async () => {
    const started = gate();
    const long = task("long", {}, async ({ signal }) => {
      started.resolve();
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    });
    await using here = await taskService({ tasks: [long] });
    await here.tasks.start();
    const ended = nextEnd("long");
    const { id } = await long.enqueue(undefined, { in: here.db });
    await started.promise;
    assert.equal(await here.tasks.store.cancel(id, 60_000), "requested");
    assert.equal((await ended).outcome, "cancelled");
    assert.equal((await here.tasks.store.show(id))?.state, "cancelled");
  });

  test("says how far it is, and the last word is kept with its end", async () => {
    const step = gate();
    const counting = task("counting", {}, async ({ progress }) => {
      progress({ rows: 1 });
      await step.promise;
      for (let rows = 2; rows <= 1_000; rows++) progress({ rows });
    });
    await using here = await taskService({ tasks: [counting] });
    await here.tasks.start();
    const ended = nextEnd("counting");
    const { id } = await counting.enqueue(undefined, { in: here.db });
    for (const untilMs = performance.now() + 20_000; (await here.tasks.store.show(id))?.progress !== '{"rows":1}';) {
      assert.ok(performance.now() < untilMs);
    }
    step.resolve();
    await ended;
    assert.equal((await here.tasks.store.show(id))?.progress, '{"rows":1000}');
  });

  test("claims what must not happen twice, once in all its attempts", async () => {
    let effects = 0;
    const pay = task("pay", { retry: { attempts: 3, base: "1ms" } }, async ({ attempt, db, claim }) => {
      await db.transaction(async (tx) => {
        if (await claim(tx)) effects++;
        if (attempt === 1) throw new Error("rolled back, and so is the claim");
      });
      if (attempt === 2) throw new Error("after the commit");
      await db.transaction(async (tx) => {
        assert.equal(await claim(tx, "other"), true);
        assert.equal(await claim(tx, "other"), false);
      });
    });
    await using here = await taskService({ tasks: [pay] });
    await here.tasks.start();
    const third = nextEnd("pay")
      .then(() => nextEnd("pay"))
      .then(() => nextEnd("pay"));
    await pay.enqueue(undefined, { in: here.db });
    assert.equal((await third).outcome, "completed");
    assert.equal(effects, 2, "once in the attempt that was rolled back, and once for good");
  });
});

suite("a deploy", () => {
  test("that changes the input sends tasks of before through `migrate`, or to the dead letter", async () => {
    const before = task("greet", { input: Type.Object({ user: Type.String() }) }, () => {});
    await using here = await taskService({ tasks: [before] });
    const { id } = await before.enqueue({ user: "7" }, { in: here.db });
    await here.tasks.close();

    const seen: number[] = [];
    const Changed = Type.Object({ userId: Type.Integer() });
    const without = task("greet", { input: Changed }, ({ input }) => void seen.push(input.userId));
    await using broken = await createTasks({ database: here.db, tasks: [without], logger: silent });
    const dead = nextEnd("greet");
    await broken.start();
    assert.deepEqual([(await dead).outcome, (await dead).deadReason], ["dead", "input"]);
    await broken.close();

    const migrating = task(
      "greet",
      { input: Changed, migrate: (old) => ({ userId: Number((old as { user: string }).user) }) },
      ({ input }) => void seen.push(input.userId),
    );
    await using mended = await createTasks({ database: here.db, tasks: [migrating], logger: silent });
    await mended.start();
    const ended = nextEnd("greet");
    assert.deepEqual(await mended.store.redrive({ name: "greet", limit: 10 }), [id]);
    assert.equal((await ended).outcome, "completed");
    assert.deepEqual(seen, [7]);
  });

  test("of another process brings tasks that this one does not know: they are left to others, and lose no attempt", async () => {
    const old = task("old", {}, () => {});
    await using here = await taskService({ tasks: [old] });
    const young = task("young", {}, () => {});
    await using newer = await createTasks({ database: here.db, tasks: [young], logger: silent });
    await here.tasks.start();
    const released = nextEnd("young");
    const { id } = await young.enqueue(undefined, { in: here.db });
    assert.equal((await released).outcome, "released");
    const record = await here.tasks.store.show(id);
    assert.deepEqual([record?.state, record?.attempt], ["waiting", 0]);
    await here.tasks.close();
    const ended = nextEnd("young");
    await newer.start();
    await newer.store.makeDue(id);
    assert.deepEqual([(await ended).outcome, (await ended).attempt], ["completed", 1]);
  });
});

suite("close()", () => {
  test("lets what runs finish, hands back what was fetched ahead, and takes nothing more", async () => {
    const release = gate();
    const started = gate();
    let ran = 0;
    const work = task("work", {}, async () => {
      if (++ran === 2) started.resolve();
      await release.promise;
    });
    await using here = await taskService({ tasks: [work], concurrency: 2 });
    await here.tasks.enqueueMany(work, [undefined, undefined, undefined, undefined]);
    await here.tasks.start();
    await started.promise;
    const closed = here.tasks.close();
    release.resolve();
    await closed;
    assert.equal(ran, 2);
    await using after = await createTasks({ database: here.db, tasks: [work], logger: silent });
    const states = (await after.store.list({ limit: 10 })).map(({ state, attempt }) => `${state} ${attempt}`);
    assert.deepEqual(states.toSorted(), ["completed 1", "completed 1", "waiting 0", "waiting 0"]);
    assert.equal(here.tasks.stats().working, false);
  });

  test("aborts what does not finish in time and hands it back with its attempt", async () => {
    const started = gate();
    const reasons: string[] = [];
    const endless = task("endless", {}, async ({ signal }: TaskRun<undefined>) => {
      started.resolve();
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    });
    await using here = await taskService({ tasks: [endless], drain: "50ms" });
    const ended = nextEnd("endless");
    await here.tasks.start();
    await endless.enqueue(undefined, { in: here.db });
    await started.promise;
    await here.tasks.close();
    const end = await ended;
    reasons.push((end.error as { code: string }).code);
    assert.deepEqual([end.outcome, ...reasons], ["released", "MILLRACE_TASKS_DRAINED"]);
    await using after = await createTasks({ database: here.db, tasks: [endless], logger: silent });
    const [record] = await after.store.list({ limit: 1 });
    assert.deepEqual([record?.state, record?.attempt], ["waiting", 0]);
  });
});

test("a handler that must not have its effect twice claims it, as its page shows", async () => {
  const charged: number[] = [];
  const Order = Type.Object({ orderId: Type.Integer() });
  // #region claim
  const bill = task("bill", { input: Order }, async ({ input, db, claim }) => {
    await db.transaction(async (tx) => {
      if (!(await claim(tx))) return; // an earlier attempt has committed
      await tx.query(sql`insert into invoices (order_id) values (${input.orderId})`);
    });
  });
  // #endregion
  const failing = task("bill", { input: Order, retry: { base: "1ms" } }, async (run) => {
    await bill.handler(run);
    charged.push(run.input.orderId);
    if (charged.length === 1) throw new Error("after the commit");
  });
  await using here = await taskService({ tasks: [failing] });
  await here.db.query(sql`create table invoices (order_id int)`);
  await here.tasks.start();
  const second = nextEnd("bill").then(() => nextEnd("bill"));
  await failing.enqueue({ orderId: 7 }, { in: here.db });
  assert.equal((await second).outcome, "completed");
  assert.deepEqual(charged, [7, 7]);
  assert.deepEqual(await here.db.many(sql`select order_id from invoices`), [{ order_id: 7 }]);
});

test("a slot is used again, by as many tasks at once as it should be and no more", async () => {
  let running = 0;
  let most = 0;
  let done = 0;
  const all = gate();
  const busy = task("busy", { queue: "narrow" }, async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    if (++done === 500) all.resolve();
  });
  await using here = await taskService({ tasks: [busy], queues: { narrow: { concurrency: 5 } } });
  await here.tasks.start();
  await here.tasks.enqueueMany(
    busy,
    Array.from({ length: 500 }, () => undefined),
  );
  await all.promise;
  assert.equal(most, 5);
});

test("definitions that contradict each other are refused", async () => {
  const one = task("one", { rate: { max: 1, per: "1s" } }, () => {});
  const two = task("two", { rate: { max: 2, per: "1s" } }, () => {});
  const bad = (options: Parameters<typeof createTasks>[0]) =>
    assert.rejects(createTasks(options), { code: "MILLRACE_TASKS_DEFINITION_INVALID" });
  await using here = await taskService({ tasks: [] });
  await bad({ database: here.db, tasks: [one, two] });
  await bad({ database: here.db, tasks: [one, one] });
  await bad({ database: here.db, tasks: [one], queues: { defualt: { concurrency: 1 } } });
  await bad({ tasks: [one] });
});
