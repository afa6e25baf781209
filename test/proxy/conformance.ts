// Cases of what HTTP asks of a cache, as steps: what the client asks, what the origin would answer, how much time passes, and where
// the answer must come from.

import assert from "node:assert/strict";
import { test } from "node:test";
import { send } from "../http/client.ts";
import type { Answer, Headers, Value, World } from "./origin.ts";

export interface Step {
  /** Seconds that pass before it. */
  readonly after?: number;
  readonly method?: string;
  /** Behind the case's own path. */
  readonly path?: string;
  readonly request?: Headers;
  readonly body?: string;
  /** What the origin answers if it is asked. Default: a 200 without a word about caching. */
  readonly answer?: Answer;
  /**
   * "stored": the origin is not asked. "origin": it is, and its answer is what the client gets. "confirmed": it is asked
   * conditionally, and the client gets what is stored. "passed": it is asked; nothing more is said.
   */
  readonly from: "stored" | "origin" | "confirmed" | "passed";
  readonly status?: number;
  /** Of the client's answer. null: not there; a number: at least so much. */
  readonly headers?: Readonly<Record<string, Value | number | null>>;
  readonly text?: string;
  /** Of the request that the origin gets. */
  readonly asked?: Readonly<Record<string, string | null>>;
}

export type Case = readonly [name: string, ...steps: readonly Step[]];

const valueOf = (value: Value, nowMs: number): string =>
  typeof value === "function" ? value(nowMs) : typeof value === "string" ? value : value.join(", ");

const joined = (value: string | readonly string[] | undefined): string | undefined =>
  value === undefined || typeof value === "string" ? value : value.join(", ");

let cases = 0;

/** Declares a test for each case. `world` is made before they run. */
export function conformance(world: () => World, list: readonly Case[]): void {
  for (const [name, ...steps] of list) {
    test(name, async () => {
      const path = `/case-${++cases}`;
      for (const [i, step] of steps.entries()) await runStep(world(), path, i, step);
    });
  }
}

async function runStep(world: World, casePath: string, i: number, step: Step): Promise<void> {
  const { url, clock } = world;
  const where = `step ${i + 1}`;
  const path = `${casePath}${step.path ?? ""}`;
  const key = path.split("?", 1)[0]!;
  if (step.after !== undefined) clock.shift(step.after);
  const marked = `answer ${i + 1}`;
  const given = step.answer ?? {};
  world.script(key, { ...given, headers: { "X-Answer": marked, ...given.headers } });
  const before = world.seen(key).length;
  const nowMs = clock.now();
  const request: Record<string, string | readonly string[]> = {};
  for (const [header, value] of Object.entries(step.request ?? {})) {
    request[header] = typeof value === "object" ? value : valueOf(value, nowMs);
  }
  if (step.body !== undefined) request["Content-Length"] = String(Buffer.byteLength(step.body));
  const answer = await send(`${url}${path}`, {
    method: step.method ?? "GET",
    headers: request as Record<string, string>,
    ...(step.body !== undefined && { body: step.body }),
  });
  const asked = world.seen(key).slice(before);
  const status = step.status ?? (step.from === "origin" ? (given.status ?? 200) : 200);
  assert.equal(answer.status, status, `${where}: ${answer.text} ${String(answer.headers["cache-status"])}`);
  if (step.from === "stored") assert.equal(asked.length, 0, `${where}: the origin was asked`);
  else assert.ok(asked.length > 0, `${where}: the origin was not asked`);
  if (step.from === "origin") assert.equal(answer.headers["x-answer"], marked, `${where}: it is another answer`);
  if (step.from === "confirmed") {
    const conditions = [asked[0]!.headers["if-none-match"], asked[0]!.headers["if-modified-since"]];
    assert.ok(
      conditions.some((condition) => condition !== undefined),
      `${where}: it was asked for all of it`,
    );
  }
  for (const [header, value] of Object.entries(step.headers ?? {})) {
    const got = joined(answer.headers[header.toLowerCase()]);
    if (value === null) assert.equal(got, undefined, `${where}: ${header}`);
    else if (typeof value === "number") assert.ok(Number(got) >= value, `${where}: ${header} is ${got}`);
    else assert.equal(got, valueOf(value, nowMs), `${where}: ${header}`);
  }
  if (step.text !== undefined) assert.equal(answer.text, step.text, where);
  for (const [header, value] of Object.entries(step.asked ?? {})) {
    assert.equal(joined(asked.at(-1)?.headers[header.toLowerCase()]), value ?? undefined, `${where}: request's ${header}`);
  }
}
