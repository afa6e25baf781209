// What fills and writes leave behind, seen through the observer that a pool would call.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Deadline, runInContext } from "../../concurrency/index.ts";
import type { StatementPlan } from "../dependencies/index.ts";
import { Collector, collect } from "./collector.ts";
import type { Written } from "./own-writes.ts";
import { Statements } from "./statements.ts";

const table = (name: string) => ({ oid: name.length, schema: "public", name });
const reads = (name: string): StatementPlan => ({
  read: { cacheable: true, reads: [{ table: table(name), keys: [] }], timeDependent: false },
  write: { writes: [], session: undefined },
  dependencies: () => [{ table: table(name), rows: undefined }],
  timeDependent: () => false,
});
const writes = (...names: string[]): StatementPlan => ({
  read: { cacheable: false, reason: "it writes" },
  write: { writes: names.map(table), session: undefined },
  dependencies: () => [],
  timeDependent: () => false,
});
const control: StatementPlan = { ...writes(), read: { cacheable: true, reads: [], timeDependent: false } };

const plans: Readonly<Record<string, StatementPlan>> = {
  "read cities": reads("cities"),
  "read reports": reads("reports"),
  "write reports": writes("reports"),
  "write cities": writes("cities"),
  random: { ...control, read: { cacheable: false, reason: "it calls random()" } },
  now: { ...control, timeDependent: () => true },
  "set path": { ...control, write: { writes: [], session: "it sets search_path" } },
  begin: control,
  commit: control,
};

const context = () => ({ requestId: "r", deadline: new Deadline() });
const ok = { error: undefined, rows: [], fields: [] };

function observed() {
  const written: Written[] = [];
  const statements = new Statements({ planOf: (text) => plans[text], onWritten: (tables) => written.push(tables) });
  const session = () => {
    const state = { idle: true };
    return {
      state,
      /** Runs a statement; the session is in a transaction afterwards or not. */
      run(text: string, idle = true, error?: Error) {
        const end = statements.onStatement({ text, values: [], session: state });
        state.idle = idle;
        end?.({ ...ok, error });
      },
    };
  };
  const shared = (text: string) => statements.onStatement({ text, values: [], session: undefined })?.(ok);
  return {
    statements,
    written,
    session,
    shared,
    names: () => written.map((one) => (one === "everything" ? one : one.map(({ name }) => name))),
  };
}

/** What a fill of these steps has found. */
function fill(steps: () => void, around?: Collector): Collector {
  const collector = new Collector(around);
  collect(collector, steps);
  collector.end();
  return collector;
}
const tablesOf = (collector: Collector) => [...collector.reads].map(({ table: { name } }) => name);

suite("a fill", () => {
  test("depends on what its statements read, on shared and own connections", () => {
    const { shared, session } = observed();
    const found = fill(() => {
      shared("read cities");
      session().run("read reports");
    });
    assert.equal(found.reason, undefined);
    assert.deepEqual(tablesOf(found), ["cities", "reports"]);
  });

  test("may not be kept when a statement says so, failed, wrote, or is still running", () => {
    const { shared, session, statements } = observed();
    const because = (steps: () => void) => fill(steps).reason;
    assert.equal(
      because(() => shared("random")),
      "it calls random()",
    );
    assert.equal(
      because(() => session().run("read cities", true, new Error("no"))),
      "one of its statements failed",
    );
    assert.equal(
      because(() => session().run("write reports")),
      "it writes",
    );
    assert.equal(
      because(() => session().run("set path")),
      "it sets search_path",
    );
    assert.match(because(() => session().run("")) ?? "", /not known/);
    assert.match(because(() => session().run("x".repeat(60_000))) ?? "", /60000 characters/);
    assert.match(because(() => session().run("a text that has no plan")) ?? "", /catalogue/);
    assert.match(
      because(() => void statements.onStatement({ text: "read cities", values: [], session: undefined })) ?? "",
      /ended before/,
    );
  });

  test("depends on the clock when a statement does", () => {
    assert.equal(fill(() => observed().shared("now")).timeDependent, true);
  });

  test("may read in a transaction of its own, but not in one that began before it", () => {
    const { session } = observed();
    const own = session();
    const inside = fill(() => {
      own.run("begin", false);
      own.run("read cities", false);
      own.run("commit");
    });
    assert.deepEqual([inside.reason, tablesOf(inside)], [undefined, ["cities"]]);
    own.run("begin", false);
    assert.match(fill(() => own.run("read cities", false)).reason ?? "", /began before it/);
    own.run("commit");
    assert.equal(fill(() => own.run("read cities")).reason, undefined);
  });

  test("may not read on a session whose settings were changed", () => {
    const one = observed().session();
    one.run("set path");
    assert.match(fill(() => one.run("read cities")).reason ?? "", /settings/);
  });

  test("hands what it found to the fill around it", () => {
    const { shared } = observed();
    const outer = new Collector(undefined);
    const inner = fill(() => shared("read cities"), outer);
    inner.end();
    collect(outer, () => shared("read reports"));
    fill(() => shared("random"), outer);
    outer.inherit({ generation: 1, upTo: 7 }, Uint32Array.of(1, 2), undefined);
    outer.inherit({ generation: 1, upTo: 5 }, Uint32Array.of(1, 2, 3, 4), undefined);
    outer.end();
    assert.deepEqual(tablesOf(outer), ["cities", "reports"]);
    assert.equal(outer.reason, "it calls random()");
    assert.deepEqual([outer.inheritedStamp, outer.inherited], [{ generation: 1, upTo: 5 }, Uint32Array.of(1, 2, 3, 4)]);
  });

  test("hears nothing after its end", () => {
    const { shared } = observed();
    const found = fill(() => {});
    collect(found, () => shared("random"));
    assert.equal(found.reason, undefined);
  });
});

suite("a write", () => {
  test("is noted when it has been acknowledged; in a transaction, when that has ended", () => {
    const { session, names } = observed();
    const one = session();
    one.run("write cities");
    assert.deepEqual(names(), [["cities"]]);
    one.run("begin", false);
    one.run("write reports", false);
    one.run("write cities", false);
    assert.equal(names().length, 1);
    one.run("commit");
    assert.deepEqual(names().slice(1), [["reports", "cities"]]);
    one.run("begin", false);
    one.run("read cities", false);
    one.run("commit");
    assert.equal(names().length, 2);
  });

  test("that is not understood may have written anything", () => {
    const { session, names } = observed();
    session().run("a text that has no plan");
    assert.deepEqual(names(), ["everything"]);
  });

  test("whose connection was lost may have happened", () => {
    const { session, names } = observed();
    const one = session();
    one.run("begin", false);
    one.run("write reports", false);
    one.run("commit", true, new Error("connection lost"));
    assert.deepEqual(names(), [["reports"]]);
  });

  test("belongs to the work that ran it", () => {
    const { statements, session } = observed();
    const [mine, other] = [context(), context()];
    const one = session();
    runInContext(mine, () => one.run("begin", false));
    runInContext(mine, () => one.run("write reports", false));
    runInContext(other, () => one.run("commit")); // whoever happens to hear of it
    runInContext(mine, () => session().run("write cities"));
    assert.deepEqual(statements.writtenBy(mine), [table("reports"), table("cities")]);
    assert.equal(statements.writtenBy(other), undefined);
  });
});
