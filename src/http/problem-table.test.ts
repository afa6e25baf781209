import assert from "node:assert/strict";
import { test } from "node:test";
import { cacheErrors } from "../cache/index.ts";
import { concurrencyErrors } from "../concurrency/index.ts";
import { coreErrors } from "../core/index.ts";
import { databaseErrors } from "../database/index.ts";
import { tasksErrors } from "../tasks/index.ts";
import { upstreamErrors } from "../upstream/index.ts";
import { httpErrors } from "./errors.ts";
import { problem } from "./problem.ts";
import { failureOf, failuresIn, problemDocument, problemTable } from "./problem-table.ts";

test("every code in the table of statuses exists", () => {
  const known = {
    ...coreErrors.table,
    ...cacheErrors.table,
    ...concurrencyErrors.table,
    ...databaseErrors.table,
    ...httpErrors.table,
    ...tasksErrors.table,
    ...upstreamErrors.table,
  };
  assert.deepEqual(
    Object.keys(problemTable).filter((code) => !(code in known)),
    [],
  );
});

test("what the client cannot help is a 500 that says nothing", () => {
  const leaks = [
    new Error("password=hunter2"),
    new TypeError("x"),
    "text",
    undefined,
    { code: "42P01", severity: "ERROR", message: "relation secret" },
  ];
  for (const error of leaks) {
    const failure = failureOf(error);
    assert.equal(failure.status, 500);
    assert.equal(failure.code, "MILLRACE_HTTP_INTERNAL");
    assert.doesNotMatch(failure.detail, /hunter2|secret/);
  }
});

test("an exhausted pool and a missing database are 503 with Retry-After, and the server's address stays inside", () => {
  const exhausted = failureOf(
    databaseErrors.create("MILLRACE_DATABASE_POOL_EXHAUSTED", { inUse: 10, waiting: 3, waitedMs: 2_000 }),
  );
  const missing = failureOf(databaseErrors.create("MILLRACE_DATABASE_UNAVAILABLE", { server: "10.1.2.3", reason: "refused" }));
  for (const failure of [exhausted, missing]) {
    assert.equal(failure.status, 503);
    assert.equal(failure.headers?.["retry-after"], "1");
    assert.doesNotMatch(failure.detail, /10\.1\.2\.3/);
  }
});

test("values that the database refuses are the client's, conflicts are conflicts, and bugs are bugs", () => {
  const statusOf = (code: string) => failureOf(Object.assign(new Error("x"), { code, severity: "ERROR" })).status;
  for (const code of ["22001", "22003", "22007", "22008", "22021", "22P02", "22P05", "23514"])
    assert.equal(statusOf(code), 400, code);
  for (const code of ["23505", "23503"]) assert.equal(statusOf(code), 409, code);
  for (const code of ["40001", "40P01", "53300", "57P01", "57P03", "08006"]) assert.equal(statusOf(code), 503, code);
  for (const code of ["22012", "42601", "42703", "23502", "XX000"]) assert.equal(statusOf(code), 500, code);
});

test("a bad cursor is a 400 that names the cursor", () => {
  const failure = failureOf(databaseErrors.create("MILLRACE_CURSOR_INVALID", {} as never));
  assert.equal(failure.status, 400);
  assert.equal(failure.errors?.[0]?.field, "cursor");
});

test("a handler's own problem is passed on as it is", () => {
  const failure = failureOf(problem(404, "CITY_NOT_FOUND", "No city has the id 5.", { headers: { "x-hint": "1" } }));
  assert.deepEqual(problemDocument(failure, "/cities/5", "r-1"), {
    type: "/docs/problems#CITY_NOT_FOUND",
    title: "Not Found",
    status: 404,
    detail: "No city has the id 5.",
    instance: "/cities/5",
    code: "CITY_NOT_FOUND",
    requestId: "r-1",
  });
  assert.equal(failure.headers?.["x-hint"], "1");
});

test("a problem with a wrong status or code is refused where it is written", () => {
  assert.throws(() => problem(200, "X", ""), RangeError);
  assert.throws(() => problem(404, "not found", ""), RangeError);
});

test("several failures are answered as the first, however they are wrapped", () => {
  const missing = problem(404, "CITY_NOT_FOUND", "No city has the id 5.");
  const late = concurrencyErrors.create("MILLRACE_DEADLINE_EXCEEDED", { deadline: "1s" });
  const fault = new TypeError("hunter2");
  assert.equal(failureOf(new AggregateError([missing, late])).code, "CITY_NOT_FOUND");
  assert.equal(failureOf(new AggregateError([late, fault])).status, 504);
  assert.equal(failureOf(new AggregateError([fault, missing])).status, 500);
  assert.equal(failureOf(new AggregateError([new AggregateError([late]), missing])).status, 504);
  // The end of a block failed after the block itself had.
  assert.equal(failureOf(new SuppressedError(fault, missing)).code, "CITY_NOT_FOUND");
  assert.deepEqual(failuresIn(new AggregateError([new SuppressedError(fault, missing), late])), [missing, fault, late]);
  assert.equal(failureOf(new AggregateError([])).status, 500);
  const loop = new AggregateError([late]);
  loop.errors = [loop];
  assert.equal(failureOf(loop).status, 500);
});
