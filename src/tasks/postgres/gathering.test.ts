import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { storeUnavailable } from "../store-failure.ts";
import type { EnqueueOutcome, NewTask } from "../store.ts";
import { Gathering } from "./gathering.ts";

const taskOf = (id: string, input = "{}"): NewTask => ({ id, queue: "default", name: "grind", input, priority: 2 });

/** Until nothing more happens by itself. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
}

/** A server that answers when it is told to: it shows the ids of each statement. */
function heldServer() {
  const sent: { readonly ids: readonly string[]; answer(): void; fail(error: unknown): void }[] = [];
  const gathering = new Gathering(async (given) => {
    const { text, values } = given.statement.render();
    const ids = (text.includes("enqueue_task_1") ? [values[0]] : values[1]) as string[];
    const { promise, resolve, reject } = Promise.withResolvers<readonly EnqueueOutcome[]>();
    const rows =
      ids.length === 1 ? [{ made: true, id: ids[0], holder: ids[0] }] : ids.map((id) => ({ id, holder: id, made: true }));
    sent.push({ ids, answer: () => resolve(given.outcomes(rows)), fail: reject });
    return promise;
  });
  return { gathering, sent, idsSent: () => sent.map(({ ids }) => ids) };
}

suite("enqueues that are gathered", () => {
  test("go at once while nothing is on its way, and together with others otherwise", async () => {
    const { gathering, sent, idsSent } = heldServer();
    const results = ["a", "b", "c", "d", "e"].map((id) => gathering.enqueue(taskOf(id), undefined));
    assert.deepEqual(idsSent(), [["a"], ["b"]]);
    sent[0]!.answer();
    assert.deepEqual(await results[0], { id: "a", accepted: true });
    await settle();
    assert.deepEqual(idsSent(), [["a"], ["b"], ["c", "d", "e"]]);
    sent[1]!.answer();
    sent[2]!.answer();
    assert.deepEqual(
      await Promise.all(results),
      ["a", "b", "c", "d", "e"].map((id) => ({ id, accepted: true })),
    );
    const later = gathering.enqueue(taskOf("f"), undefined);
    await settle();
    assert.deepEqual(sent.at(-1)!.ids, ["f"]);
    sent.at(-1)!.answer();
    assert.equal((await later).accepted, true);
  });

  test("fail alone when one of them is at fault, and together when the server is", async () => {
    const { gathering, sent } = heldServer();
    const bad = Object.assign(new Error("invalid input"), { code: "22P02" });
    const first = Promise.allSettled([gathering.enqueue(taskOf("a"), undefined), gathering.enqueue(taskOf("b"), undefined)]);
    const together = ["c", "d", "e"].map((id) => gathering.enqueue(taskOf(id), undefined));
    const settled = Promise.allSettled(together);
    sent[1]!.answer();
    await settle();
    assert.deepEqual(sent[2]!.ids, ["c", "d", "e"]);
    sent[2]!.fail(bad);
    for (const [i, id] of ["c", "d", "e"].entries()) {
      await settle();
      assert.deepEqual(sent[3 + i]!.ids, [id]);
      if (id === "d") sent[3 + i]!.fail(bad);
      else sent[3 + i]!.answer();
    }
    assert.deepEqual(
      (await settled).map((each) => (each.status === "fulfilled" ? each.value.id : (each.reason as unknown))),
      ["c", bad, "e"],
    );

    const others = Promise.allSettled(["f", "g", "h"].map((id) => gathering.enqueue(taskOf(id), undefined)));
    await settle();
    const count = sent.length;
    for (const each of sent) each.fail(storeUnavailable("postgresql", "enqueue", new Error("gone")));
    await settle();
    for (const each of sent.slice(count)) each.fail(storeUnavailable("postgresql", "enqueue", new Error("gone")));
    for (const each of await others) {
      assert.equal(each.status === "rejected" && (each.reason as { code: string }).code, "MILLRACE_TASKS_STORE_UNAVAILABLE");
    }
    assert.ok(sent.length <= count + 1, "nobody asks a server that is away once per task");
    await first;
  });

  test("whoever leaves before his statement is on its way has enqueued nothing; later nobody knows", async () => {
    const { gathering, sent, idsSent } = heldServer();
    const leave = new AbortController();
    const reason = new Error("left");
    const results = ["a", "b", "c", "d"].map((id) =>
      gathering.enqueue(taskOf(id), id === "b" || id === "c" ? leave.signal : undefined),
    );
    const settled = Promise.allSettled(results);
    leave.abort(reason);
    await assert.rejects(gathering.enqueue(taskOf("e"), leave.signal), reason);
    sent[1]!.answer();
    await settle();
    assert.deepEqual(idsSent(), [["a"], ["b"], ["d"]]);
    for (const each of sent) each.answer();
    assert.deepEqual(
      (await settled).map((each) => (each.status === "fulfilled" ? each.value.id : (each.reason as unknown))),
      ["a", reason, reason, "d"],
    );
  });

  test("are refused when ten thousand wait already", async () => {
    const { gathering, sent } = heldServer();
    const all = Array.from({ length: 10_003 }, (_, i) => gathering.enqueue(taskOf(`${i}`), undefined));
    const settled = Promise.allSettled(all);
    await assert.rejects(all.at(-1)!, { code: "MILLRACE_TASKS_STORE_UNAVAILABLE", message: /10000 enqueues wait/ });
    let open = true;
    const done = settled.then(() => (open = false));
    for (let i = 0; open; i++) {
      if (i < sent.length) sent[i]!.answer();
      else i--;
      await settle();
    }
    await done;
    assert.equal((await settled).filter(({ status }) => status === "fulfilled").length, 10_002);
  });

  test("are at most so many, and so long, that nobody waits for them long", async () => {
    const { gathering, sent } = heldServer();
    const many = Array.from({ length: 1_202 }, (_, i) => gathering.enqueue(taskOf(`${i}`), undefined));
    const long = Array.from({ length: 3 }, (_, i) => gathering.enqueue(taskOf(`long ${i}`, `"${"x".repeat(300_000)}"`), undefined));
    let answered = 0;
    const all = Promise.all([...many, ...long]).then(() => (answered = -1));
    while (answered >= 0) {
      for (; answered < sent.length; answered++) sent[answered]!.answer();
      await settle();
    }
    await all;
    const sizes = sent.map(({ ids }) => ids.length);
    assert.equal(
      sizes.reduce((sum, size) => sum + size, 0),
      1_205,
    );
    assert.deepEqual(sizes.slice(0, 4), [1, 1, 500, 500]);
    assert.deepEqual(sizes.slice(-2), [1, 1]);
  });
});
