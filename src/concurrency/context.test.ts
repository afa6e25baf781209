import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { type WorkContext, currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";

const contextOf = (requestId: string): WorkContext => ({ requestId, deadline: new Deadline() });

test("what runs deep inside of work knows whose it is", async () => {
  const lines: string[] = [];
  // #region context
  const log = (message: string) => lines.push(`${currentContext()?.requestId ?? "-"} ${message}`);

  using deadline = new Deadline({ timeoutMs: 800 });
  await runInContext({ requestId: "req-7", deadline, principalId: "user-5" }, async () => {
    await setImmediate();
    log("grinding"); // "req-7 grinding"
  });
  log("idle"); // "- idle"
  // #endregion
  assert.deepEqual(lines, ["req-7 grinding", "- idle"]);
});

suite("the context", () => {
  test("is absent outside of any work", () => {
    assert.equal(currentContext(), undefined);
  });

  test("follows the work through awaits, timers and promises, and ends with it", async () => {
    const context = contextOf("a");
    const seen: (string | undefined)[] = [];
    await runInContext(context, async () => {
      seen.push(currentContext()?.requestId);
      await setImmediate();
      seen.push(currentContext()?.requestId);
      await Promise.all([1, 2].map(async () => seen.push(currentContext()?.requestId)));
      await new Promise<void>((resolve) => queueMicrotask(() => resolve(void seen.push(currentContext()?.requestId))));
    });
    assert.deepEqual(seen, ["a", "a", "a", "a", "a"]);
    assert.equal(currentContext(), undefined);
  });

  test("of concurrent works never mix", async () => {
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        runInContext(contextOf(String(i)), async () => {
          for (let turn = 0; turn < 5; turn++) {
            await setImmediate();
            assert.equal(currentContext()?.requestId, String(i));
          }
        }),
      ),
    );
  });

  test("of inner work hides the outer one until it is done", () => {
    runInContext(contextOf("outer"), () => {
      const answer = runInContext(contextOf("inner"), () => currentContext()!.requestId);
      assert.equal(answer, "inner");
      assert.equal(currentContext()!.requestId, "outer");
    });
  });

  test("is left also when the work throws", () => {
    assert.throws(() =>
      runInContext(contextOf("a"), () => {
        throw new Error("x");
      }),
    );
    assert.equal(currentContext(), undefined);
  });

  test("is one object, so that who is served can be filled in when it is known", async () => {
    await runInContext(contextOf("a"), async () => {
      currentContext()!.principalId = "user-5";
      await setImmediate();
      assert.equal(currentContext()!.principalId, "user-5");
    });
  });
});
