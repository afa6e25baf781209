import assert from "node:assert/strict";
import { createHook } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { createManualClock } from "../core/index.ts";
import { currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { type Group, createGroup, group } from "./group.ts";
import { mapConcurrent } from "./map-concurrent.ts";

/** Work that takes as long as nobody ends it. */
const untilAborted = (deadline: Deadline) => new Promise<never>((_, reject) => void deadline.onAbort(reject));

const failure = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("it should have failed");
};

test("several pieces of work begin and end together", async () => {
  const cityOf = async (id: number) => ({ id, name: "Reykjavík" });
  const forecastOf = async (_id: number, _options: { signal: AbortSignal }) => ["rain", "more rain"];
  // #region group
  const answer = await group(
    async (tasks) => {
      const city = tasks.start(() => cityOf(7));
      const forecast = tasks.start(({ signal }) => forecastOf(7, { signal }));
      return { city: await city, forecast: await forecast };
    },
    { deadline: "800ms" },
  );
  // #endregion
  assert.deepEqual(answer, { city: { id: 7, name: "Reykjavík" }, forecast: ["rain", "more rain"] });
});

suite("a group", () => {
  test("waits for children that the body does not await", async () => {
    const child = Promise.withResolvers<void>();
    let ended = false;
    const result = group((tasks) => {
      void tasks.start(() => child.promise);
      return "body";
    }).then((value) => {
      ended = true;
      return value;
    });
    await setImmediate();
    assert.equal(ended, false);
    child.resolve();
    assert.equal(await result, "body");
  });

  test("with one failure aborts the others and throws that failure itself", async () => {
    const mistake = new Error("a mistake");
    const reasons: unknown[] = [];
    const error = await failure(
      group((tasks) => {
        void tasks.start((deadline) => untilAborted(deadline).catch((reason: unknown) => reasons.push(reason)));
        void tasks.start(() => Promise.reject(mistake));
        void tasks.start(untilAborted);
      }),
    );
    assert.equal(error, mistake);
    assert.deepEqual(reasons, [mistake]);
  });

  test("with several failures throws them together, in the order in which they happened", async () => {
    const [first, second] = [new Error("first"), new Error("second")];
    const error = await failure(
      group((tasks) => {
        void tasks.start((deadline) => untilAborted(deadline).catch(() => Promise.reject(second)));
        void tasks.start(() => Promise.reject(first));
      }),
    );
    assert.ok(error instanceof AggregateError);
    assert.deepEqual(error.errors, [first, second]);
  });

  test("does not count what only says that it was aborted, whoever says it", async () => {
    const mistake = new Error("a mistake");
    const error = await failure(
      group((tasks) => {
        void tasks
          .start(({ signal }) => setImmediate(undefined, { signal }).then(() => new Promise(() => {}), undefined))
          .catch(() => {});
        void tasks.start(({ signal }) =>
          fetch("http://127.0.0.1:9/", { signal }).catch((reason: unknown) => Promise.reject(reason)),
        );
        void tasks.start((deadline) =>
          untilAborted(deadline).catch((reason: unknown) => Promise.reject(new Error("my call ended", { cause: reason }))),
        );
        void tasks.start((deadline) =>
          group((inner) => {
            void inner.start(untilAborted);
            void inner.start(untilAborted);
            assert.ok(inner.deadline !== deadline);
          }),
        );
        throw mistake;
      }).catch((reason: unknown) => Promise.reject(reason)),
    );
    assert.equal(error, mistake);
  });

  test("counts a failure of the body, and once when the body lets out a child's", async () => {
    const mistake = new Error("a mistake");
    assert.equal(await failure(group(() => Promise.reject(mistake))), mistake);
    assert.equal(
      await failure(
        group(async (tasks) => {
          await tasks.start(() => Promise.reject(mistake));
        }),
      ),
      mistake,
    );
  });

  test("refuses children when it has ended, and with the reason when it is aborting", async () => {
    let kept: Group | undefined;
    await group((tasks) => void (kept = tasks));
    assert.throws(() => kept!.start(() => 1), { code: "MILLRACE_GROUP_ENDED" });

    const mistake = new Error("a mistake");
    let started = false;
    const error = await failure(
      group(async (tasks) => {
        void tasks.start(() => Promise.reject(mistake));
        await setImmediate();
        void tasks.start(() => (started = true));
      }),
    );
    assert.equal(error, mistake);
    assert.equal(started, false);
  });

  test("takes children from children while one of them still runs", async () => {
    const seen: number[] = [];
    await group((tasks) => {
      const next = async (n: number): Promise<void> => {
        await setImmediate();
        seen.push(n);
        if (n < 5) void tasks.start(() => next(n + 1));
      };
      void tasks.start(() => next(1));
    });
    assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  });

  test("waits also for what is started by whoever waited for its last child", async () => {
    let done = false;
    await group((tasks) => {
      const last = tasks.start(() => setImmediate());
      void last.then(() => tasks.start(() => setImmediate().then(() => (done = true))));
    });
    assert.equal(done, true);
  });

  test("with a limit runs so many at once, in order; those that never ran say why", async () => {
    const started: number[] = [];
    const mistake = new Error("a mistake");
    const gates = Array.from({ length: 5 }, () => Promise.withResolvers<number>());
    const promises: Promise<number>[] = [];
    const result = group(
      (tasks) => {
        for (const [i, gate] of gates.entries()) {
          promises.push(
            tasks.start(() => {
              started.push(i);
              return gate.promise;
            }),
          );
        }
        assert.equal(tasks.running, 2);
        assert.equal(tasks.waiting, 3);
      },
      { limit: 2 },
    );
    await setImmediate();
    assert.deepEqual(started, [0, 1]);
    gates[1]!.resolve(1);
    await setImmediate();
    assert.deepEqual(started, [0, 1, 2]);
    assert.equal(await promises[1], 1);
    gates[0]!.reject(mistake);
    gates[2]!.resolve(2);
    assert.equal(await failure(result), mistake);
    assert.deepEqual(started, [0, 1, 2]);
    assert.equal(await failure(promises[4]!), mistake);
  });

  test("at its deadline aborts its children and throws", async () => {
    const clock = createManualClock();
    const result = group((tasks) => void tasks.start(untilAborted), { deadline: "800ms", clock });
    clock.advance(799);
    await setImmediate();
    clock.advance(1);
    await assert.rejects(result, { code: "MILLRACE_DEADLINE_EXCEEDED", details: { deadline: "800ms" } });
    assert.equal(clock.pendingTimers, 0);
  });

  test("throws also when its children took no notice of the end", async () => {
    const clock = createManualClock();
    const child = Promise.withResolvers<void>();
    const result = group((tasks) => void tasks.start(() => child.promise), { deadline: "800ms", clock });
    clock.advance(800);
    child.resolve();
    await assert.rejects(result, { code: "MILLRACE_DEADLINE_EXCEEDED" });
  });

  test("is part of the work in which it stands: ends with it, and passes its own end on", async () => {
    const clock = createManualClock();
    using request = new Deadline({ timeoutMs: 1_000, clock });
    const context = { requestId: "req-7", deadline: request, principalId: "user-5", tenant: "mill" };
    const seen: unknown[] = [];
    const result = runInContext(context, () =>
      group(
        (tasks) => {
          void tasks.start(() => {
            const { requestId, principalId, tenant, deadline } = currentContext()!;
            seen.push(requestId, principalId, tenant, deadline === tasks.deadline, deadline.remainingMs);
            return group((inner) => void inner.start(untilAborted));
          });
        },
        { deadline: "5s" },
      ),
    );
    const gone = new Error("the client left");
    request.abort(gone);
    assert.equal(await failure(result), gone);
    assert.deepEqual(seen, ["req-7", "user-5", "mill", true, 1_000]);
  });

  test("outside of any work is work of its own, with an id and an end", async () => {
    await group(async (tasks) => {
      const outside = await tasks.start(() => currentContext());
      assert.match(outside!.requestId, /^\w{10}-\w+$/);
      assert.equal(outside!.deadline, tasks.deadline);
    });
    assert.equal(currentContext(), undefined);
  });

  test("starts nothing for work that has been given up", async () => {
    const gone = new Error("the client left");
    assert.equal(await failure(group(() => assert.fail("it must not run"), { signal: AbortSignal.abort(gone) })), gone);
  });

  test("that is cancelled ends quietly", async () => {
    const first = await group(async (tasks) => {
      const slow = tasks.start(untilAborted);
      const fast = await tasks.start(() => "fast");
      tasks.cancel();
      await assert.rejects(slow, { code: "MILLRACE_GROUP_CANCELLED" });
      return fast;
    });
    assert.equal(first, "fast");
    await assert.rejects(
      group(async (tasks) => {
        const slow = tasks.start(untilAborted);
        tasks.cancel();
        await slow;
      }),
      { code: "MILLRACE_GROUP_CANCELLED" },
    );
  });

  test("throws the mistake of a child's listener beside the failure that made it be called", async () => {
    const error = await failure(
      group((tasks) => {
        void tasks.start((deadline) => {
          deadline.onAbort(() => {
            throw new Error("in the listener");
          });
        });
        throw new Error("first");
      }),
    );
    assert.ok(error instanceof AggregateError);
    assert.deepEqual(
      error.errors.map((one: Error) => one.message),
      ["first", "in the listener"],
    );
  });

  test("says which option is wrong", async () => {
    await assert.rejects(
      group(() => {}, { limit: 0 }),
      { code: "MILLRACE_OPTION_INVALID" },
    );
    await assert.rejects(
      group(() => {}, { timeout: "1s" } as never),
      { code: "MILLRACE_OPTION_UNKNOWN" },
    );
  });
});

suite("an open group", () => {
  test("is waited for at the end of its block", async () => {
    const seen: string[] = [];
    {
      // #region await-using
      await using tasks = createGroup({ limit: 4 });
      void tasks.start(async () => {
        await setImmediate();
        seen.push("child");
      });
      // the end of the block waits for the child
      // #endregion
      seen.push("block");
    }
    assert.deepEqual(seen, ["block", "child"]);
  });

  test("throws at the end of its block what nobody has learned", async () => {
    const mistake = new Error("a mistake");
    const block = async () => {
      await using tasks = createGroup();
      void tasks.start(() => Promise.reject(mistake));
      void tasks.start(untilAborted);
    };
    assert.equal(await failure(block()), mistake);
  });

  test("throws a failure once when the block has awaited it", async () => {
    const mistake = new Error("a mistake");
    for (const how of ["await", "all", "sibling"]) {
      const block = async () => {
        await using tasks = createGroup();
        const failing = tasks.start(() => setImmediate().then(() => Promise.reject(mistake)));
        const other = tasks.start(untilAborted);
        if (how === "await") await failing;
        else if (how === "all") await Promise.all([failing, other]);
        else await other;
      };
      assert.equal(await failure(block()), mistake, how);
    }
  });

  test("loses no failure when the block throws something else", async () => {
    const [first, second] = [new Error("of the block"), new Error("of a child")];
    const block = async () => {
      await using tasks = createGroup();
      void tasks.start(() => Promise.reject(second));
      throw first;
    };
    const error = await failure(block());
    assert.ok(error instanceof SuppressedError);
    assert.equal(error.error, second);
    assert.equal(error.suppressed, first);
  });

  test("can be joined before its block ends, and then says nothing at the end", async () => {
    const mistake = new Error("a mistake");
    const block = async () => {
      await using tasks = createGroup();
      void tasks.start(() => Promise.reject(mistake));
      assert.equal(await failure(tasks.join()), mistake);
      assert.throws(() => tasks.start(() => 1), { code: "MILLRACE_GROUP_ENDED" });
      return "fine";
    };
    assert.equal(await block(), "fine");
  });
});

suite("groups leave nothing behind", () => {
  test("after 20,000 of them, whichever way they end", async () => {
    const clock = createManualClock();
    const parent = new AbortController();
    using above = new Deadline({ clock });
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown) => unhandled.push(error);
    process.on("unhandledRejection", onUnhandled);
    try {
      for (let i = 0; i < 20_000; i++) {
        await group(
          (tasks) => {
            void tasks.start(() => i);
            if (i % 3 === 0) void tasks.start(() => Promise.reject(new Error("x")));
            if (i % 5 === 0) void tasks.start(untilAborted);
            if (i % 5 === 0) tasks.cancel();
          },
          { deadline: "30s", clock, signal: i % 2 ? parent.signal : above, limit: 1 + (i % 3) },
        ).catch(() => {});
      }
      await setImmediate();
    } finally {
      process.off("unhandledRejection", onUnhandled);
    }
    assert.deepEqual(unhandled, []);
    assert.equal(clock.pendingTimers, 0);
    assert.equal(getEventListeners(parent.signal, "abort").length, 0);
  });

  test("no timer of the process either", async () => {
    // Deadlines do not keep the process alive, so the lists of what does not show them.
    const timers = new Set<number>();
    let made = 0;
    const hook = createHook({
      init: (id, type) => void (type === "Timeout" && timers.add(id) && made++),
      destroy: (id) => void timers.delete(id),
    }).enable();
    for (let i = 0; i < 1_000; i++) await group((tasks) => tasks.start(() => i), { deadline: "30s" });
    await setImmediate();
    hook.disable();
    assert.equal(made, 1_000);
    assert.equal(timers.size, 0);
  });
});

suite("mapConcurrent", () => {
  test("keeps the order of the items, so many at once", async () => {
    let running = 0;
    let most = 0;
    const work = async (id: number) => {
      most = Math.max(most, ++running);
      for (let i = id % 5; i >= 0; i--) await setImmediate();
      running--;
      return id * 2;
    };
    const ids = Array.from({ length: 50 }, (_, i) => i);
    // #region map
    const doubled = await mapConcurrent(ids, (id) => work(id), { limit: 4, deadline: "10s" });
    // #endregion
    assert.deepEqual(
      doubled,
      ids.map((id) => id * 2),
    );
    assert.equal(most, 4);
  });

  test("takes items only when they are worked on, and ends the iteration at the first failure", async () => {
    const taken: number[] = [];
    let ended = false;
    function* items() {
      try {
        for (let i = 0; i < 100; i++) {
          taken.push(i);
          yield i;
        }
      } finally {
        ended = true;
      }
    }
    const mistake = new Error("a mistake");
    const work = async (item: number) => {
      await setImmediate();
      if (item === 5) throw mistake;
    };
    assert.equal(await failure(mapConcurrent(items(), work, { limit: 2 })), mistake);
    assert.ok(taken.length <= 8, `${taken.length} taken`);
    assert.equal(ended, true);
  });

  test("reads asynchronous iterables, one next() at a time", async () => {
    let pulling = 0;
    const items: AsyncIterable<number> = {
      [Symbol.asyncIterator]() {
        let i = 0;
        return {
          async next() {
            assert.equal(++pulling, 1);
            await setImmediate();
            pulling--;
            return i < 20 ? { done: false, value: i++ } : { done: true, value: undefined };
          },
        };
      },
    };
    const results = await mapConcurrent(items, async (item, index) => (await setImmediate(), item === index), { limit: 8 });
    assert.deepEqual(
      results,
      Array.from({ length: 20 }, () => true),
    );
  });

  test("of nothing is nothing; what the iterable throws is thrown", async () => {
    assert.deepEqual(await mapConcurrent([], () => assert.fail("no item")), []);
    const mistake = new Error("a mistake");
    // oxlint-disable-next-line require-yield -- it fails first
    function* broken(): Generator<number> {
      throw mistake;
    }
    assert.equal(await failure(mapConcurrent(broken(), () => 1)), mistake);
  });
});
