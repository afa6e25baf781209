// `millrace tasks` and `millrace worker`, as processes.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { suite, test } from "node:test";
import { createInterface } from "node:readline";
import type { Task } from "millrace/tasks";
import { task } from "millrace/tasks";
import { double, others } from "./fixtures/module.ts";
import { taskService } from "./service.ts";

const bin = join(import.meta.dirname, "../../src/cli/bin.ts");
const modulePath = join(import.meta.dirname, "fixtures/module.ts");
const flags = ["--conditions=millrace-source", bin];
const slow = others[0] as unknown as Task<number, string>;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const millrace = (url: string, ...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [...flags, ...args, "--database-url", url], { timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });

/** Runs command lines one after the other. */
async function inOrder(url: string, ...commands: readonly (readonly string[])[]): Promise<Ended[]> {
  const path = join(import.meta.dirname, "fixtures/run-commands.ts");
  const given = JSON.stringify(commands.map((command) => [...command, "--database-url", url]));
  const { stdout, stderr } = await new Promise<Ended>((resolve) => {
    execFile(process.execPath, [flags[0]!, path, given], { timeout: 60_000 }, (_, out, err) =>
      resolve({ code: 0, stdout: out, stderr: err }),
    );
  });
  const parts = stdout.split("\u0000");
  assert.equal(parts.length, commands.length * 2 + 1, stdout + stderr);
  return commands.map((_, i) => ({ code: Number(parts[i * 2 + 1]), stdout: parts[i * 2]!, stderr }));
}

const lines = (ended: Ended | undefined): Record<string, unknown>[] =>
  ended!.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

suite("millrace tasks", () => {
  test("shows what waits and what is dead, and people can do something about it", async () => {
    const broken = task("broken", { retry: { attempts: 1 } }, () => {
      throw new Error("There is no bread.");
    });
    await using here = await taskService({ tasks: [double, broken] });
    const dead = await broken.enqueue(undefined, { in: here.db });
    await here.tasks.start();
    await assert.rejects(here.tasks.result(dead, { timeout: "20s" }));
    await here.tasks.close();

    const { id } = dead;
    const [listed, shown, queues, retried, paused, held, resumed, cancelled, again, kept, missing, vague] = await inOrder(
      here.url,
      ["tasks", "dead", "--json"],
      ["tasks", "show", id],
      ["tasks", "queues"],
      ["tasks", "retry", id, "--json"],
      ["tasks", "pause", "default", "--json"],
      ["tasks", "queues", "--json"],
      ["tasks", "resume", "default", "--json"],
      ["tasks", "cancel", id, "--json"],
      ["tasks", "cancel", id],
      ["tasks", "list", "--state", "cancelled"],
      ["tasks", "show", "00000000-0000-7000-8000-000000000000"],
      ["tasks", "retry"],
    );
    assert.equal(listed!.code, 0);
    assert.deepEqual(
      lines(listed).map(({ id: its, state, deadReason, error }) => [its, state, deadReason, (error as Error).message]),
      [[id, "dead", "attempts", "There is no bread."]],
    );
    assert.match(shown!.stdout, /^state +dead \(attempts\)$/m);
    assert.match(queues!.stdout, /^default +0 +0 +0 +1$/m);
    assert.deepEqual(lines(retried), [{ id, became: "waiting" }]);
    assert.deepEqual(lines(paused), [{ queue: "default", became: "paused" }]);
    assert.equal(lines(held)[0]!["paused"], true);
    assert.deepEqual(lines(resumed), [{ queue: "default", became: "resumed" }]);
    assert.deepEqual(lines(cancelled), [{ id, became: "cancelled" }]);
    assert.equal(again!.code, 1);
    assert.match(again!.stdout, /finished/);
    assert.match(kept!.stdout, /broken/);
    assert.equal(missing!.code, 1);
    assert.equal(vague!.code, 1);
    assert.match(vague!.stderr, /say which/);
  });
});

/** A worker process, and what it says. */
function startWorker(url: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [...flags, "worker", modulePath, "--database-url", url, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said: string[] = [];
  const waiting = new Map<string, () => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { msg } = JSON.parse(line) as { msg: string };
    said.push(msg);
    waiting.get(msg)?.();
  });
  const ended = once(child, "exit") as Promise<[number | null, string | null]>;
  return {
    child,
    said,
    ended,
    async says(msg: string): Promise<void> {
      if (said.includes(msg)) return;
      const heard = new Promise<void>((resolve) => waiting.set(msg, resolve));
      await Promise.race([heard, ended.then(([code]) => assert.fail(`It ended with ${code} and said: ${said.join("; ")}`))]);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

suite("millrace worker", () => {
  test("works on what the module exports, and ends in order at SIGTERM with what it was at", async () => {
    await using here = await taskService({ tasks: [double, slow] });
    await using worker = startWorker(here.url);
    await worker.says("The worker is up.");
    const twice: number = await here.tasks.result(await double.enqueue(21, { in: here.db }), { timeout: "30s" });
    assert.equal(twice, 42);
    const handle = await slow.enqueue(1_000, { in: here.db });
    for await (const { state } of here.tasks.watch(handle, { signal: AbortSignal.timeout(30_000) })) if (state === "active") break;
    worker.child.kill("SIGTERM");
    assert.deepEqual(await worker.ended, [0, null]);
    assert.equal(await here.tasks.result(handle, { timeout: "1s" }), "done");
    assert.equal(worker.said.at(-1), "The worker has stopped.");
  });

  test("leaves queues that are not named to others, and ends at once at the second signal", async () => {
    await using here = await taskService({ tasks: [double, slow] });
    await using worker = startWorker(here.url, "--queues", "slow", "--concurrency", "1");
    await worker.says("The worker is up.");
    const left = await double.enqueue(1, { in: here.db });
    const handle = await slow.enqueue(60_000, { in: here.db });
    for await (const { state } of here.tasks.watch(handle, { signal: AbortSignal.timeout(30_000) })) if (state === "active") break;
    assert.equal((await here.tasks.status(left.id))?.state, "waiting");
    worker.child.kill("SIGTERM");
    await worker.says("The worker drains; a second signal ends it at once.");
    await new Promise((resolve) => setTimeout(resolve, 600)); // the first half second is the same signal, passed on
    worker.child.kill("SIGTERM");
    assert.deepEqual(await worker.ended, [143, null]);
  });

  test("refuses a module without tasks, and queues that there are not", async () => {
    await using here = await taskService({ tasks: [double] });
    const none = await millrace(here.url, "worker", join(import.meta.dirname, "pass-time.ts"));
    assert.equal(none.code, 1);
    assert.match(none.stderr, /exports no tasks/);
    const wrong = await millrace(here.url, "worker", modulePath, "--queues", "slwo");
    assert.match(wrong.stderr, /no task has this queue. The tasks have: double?|default, slow/);
  });
});
