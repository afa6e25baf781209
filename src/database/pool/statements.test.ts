// What the pool remembers of statement texts.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createManualClock } from "../../core/index.ts";
import { Statements } from "./statements.ts";

const minuteMs = 60_000;

suite("statement texts", () => {
  test("are prepared from their second use on, each under a name of its own", () => {
    const statements = new Statements(10, createManualClock());
    assert.equal(statements.use("select 1").name, undefined);
    const first = statements.use("select 1").name;
    assert.match(first!, /^millrace_[0-9a-z]+$/);
    assert.equal(statements.use("select 1").name, first);
    statements.use("select 2");
    assert.notEqual(statements.use("select 2").name, first);
  });

  test("run unprepared when as many are prepared as may be", () => {
    const statements = new Statements(1, createManualClock());
    for (let use = 0; use < 3; use++) statements.use("select 1");
    for (let use = 0; use < 3; use++) assert.equal(statements.use("select 2").name, undefined);
    assert.notEqual(statements.use("select 1").name, undefined);
    assert.equal(new Statements(0, createManualClock()).use("select 1").name, undefined);
  });

  test("take a new name when their prepared form has become invalid", () => {
    const statements = new Statements(10, createManualClock());
    statements.use("select 1");
    const statement = statements.use("select 1");
    const before = statement.name;
    statements.renew(statement);
    assert.notEqual(statement.name, before);
    assert.equal(statements.use("select 1").name, statement.name);
    const once = statements.use("select 2");
    statements.renew(once);
    assert.equal(once.name, undefined, "what was never prepared has nothing to renew");
  });

  test("are judged only when the server's functions are known, then all at once", () => {
    const statements = new Statements(10, createManualClock());
    const read = statements.use("select lower(name) from cities");
    const write = statements.use("insert into cities values (1)");
    assert.equal(statements.knowsFunctions, false);
    assert.equal(read.reads, undefined);
    assert.equal(statements.mayPipeline(read), false);
    statements.learnFunctions(new Set(["lower"]));
    assert.equal(statements.knowsFunctions, true);
    assert.equal(statements.mayPipeline(read), true);
    assert.equal(statements.mayPipeline(write), false);
    assert.equal(statements.mayPipeline(statements.use("select upper(name) from cities")), false);
  });

  test("stay writing once they were seen to write, also when functions are learnt again", () => {
    const statements = new Statements(10, createManualClock());
    statements.learnFunctions(new Set());
    const statement = statements.use("select * from a_view_that_writes");
    assert.equal(statements.mayPipeline(statement), true);
    statements.markWrites(statement);
    statements.learnFunctions(new Set(["lower"]));
    assert.equal(statements.mayPipeline(statements.use("select * from a_view_that_writes")), false);
  });

  test("that stall now and then among many uses stay on shared connections", () => {
    const statements = new Statements(10, createManualClock());
    statements.learnFunctions(new Set());
    for (let use = 0; use < 5_000; use++) {
      const statement = statements.use("select 1");
      if (use % 50 === 49) statements.stalled(statement);
    }
    assert.equal(statements.mayPipeline(statements.use("select 1")), true);
    for (let use = 0; use < 1_000; use++) statements.stalled(statements.use("select 1"));
    assert.equal(statements.mayPipeline(statements.use("select 1")), false, "one that became slow is noticed");
  });

  test("that held up others three times keep off shared connections for a minute", () => {
    const clock = createManualClock();
    const statements = new Statements(10, clock);
    statements.learnFunctions(new Set());
    const statement = statements.use("select 1");
    statements.stalled(statement);
    statements.stalled(statement);
    assert.equal(statements.mayPipeline(statement), true);
    statements.stalled(statement);
    assert.equal(statements.mayPipeline(statement), false);
    clock.advance(minuteMs - 1);
    assert.equal(statements.mayPipeline(statement), false);
    clock.advance(1);
    assert.equal(statements.mayPipeline(statement), true);
  });

  test("are forgotten when there are endlessly many, the prepared ones never", () => {
    const statements = new Statements(10, createManualClock());
    statements.use("select 'kept'");
    const kept = statements.use("select 'kept'");
    statements.use("select 'seen once'");
    for (let i = 0; i < 1_000; i++) statements.use(`select ${i}`);
    assert.equal(statements.use("select 'kept'"), kept);
    assert.equal(kept.uses, 3);
    assert.equal(statements.use("select 'seen once'").uses, 1, "its first use was forgotten");
    assert.equal(statements.use("select 999").uses, 2, "the newest is remembered");
  });

  test("whose oldest are prepared still give way one for one", () => {
    const statements = new Statements(100, createManualClock());
    for (let i = 0; i < 100; i++) for (let use = 0; use < 2; use++) statements.use(`select 'prepared ${i}'`);
    for (let i = 0; i < 10_000; i++) statements.use(`select ${i}`);
    assert.equal(statements.use("select 9000").uses, 1, "remembered texts are bounded");
    assert.equal(statements.use("select 9999").uses, 2);
  });
});
