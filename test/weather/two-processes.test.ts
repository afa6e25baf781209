// README's three lines: a report that is posted in one process is seen at once by its author in another, and by everyone else soon.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { testDatabase } from "../harness/postgres.ts";
import { type Page, until } from "./harness.ts";
import { startProgram } from "./program.ts";

const script = fileURLToPath(new URL("../../examples/weather/two-processes.sh", import.meta.url));

test("a report posted in one process is seen in the other: by its author at once, by everyone else within the bound", async () => {
  await using database = await testDatabase();
  await using first = startProgram({ DATABASE_URL: database.url });
  const a = await first.up;
  await using second = startProgram({ DATABASE_URL: database.url });
  const b = await second.up;

  const { stdout } = await promisify(execFile)("sh", [script, a.url, b.url]);
  const lines = stdout.trim().split("\n");
  assert.match(lines[0]!, /^cache-status: millrace; hit; /i);
  assert.match(lines[1]!, /^cache-status: millrace; fwd=stale; /i);
  assert.match(lines[2]!, /"text":"Rain\."/);
  assert.match(lines.at(-1)!, /"text":"Rain\."/);

  // The same with an author who writes again and again, checked each time.
  const { token } = await a.user();
  for (let i = 0; i < 40; i++) {
    const text = `report ${i}`;
    const posted = await a.send("POST", "/reports", { cityId: 5128581, text }, token);
    const freshness = posted.headers.get("freshness-token")!;
    const newest = async (url: string, headers: Record<string, string> = {}) =>
      ((await (await fetch(`${url}/cities/5128581/reports?limit=1`, { headers })).json()) as Page).data[0]?.["text"];
    assert.equal(await newest(a.url), text, "in the process that wrote");
    assert.equal(await newest(b.url, { "freshness-token": freshness }), text, "in the other, with the token");
    if (i % 10 === 9) await until("the other without a token", async () => (await newest(b.url)) === text);
  }
  const { body } = await b.get<Page>("/cities/5128581/reports?limit=100");
  assert.equal(body.data.length, 40);
});
