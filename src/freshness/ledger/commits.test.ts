// Up to which number a fill reflects the log, whatever the order in which commits are logged, delivered and seen.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { FeedCommit } from "../feed.ts";
import { Commits, type Sample } from "./commits.ts";
import { parseSnapshot, sees } from "./snapshot.ts";

const commit = (number: number, xid: number | undefined, everything = false): FeedCommit => ({
  number,
  xid: xid === undefined ? undefined : BigInt(xid),
  dependencies: new Uint32Array(0),
  everything,
});
const sample = (text: string, standby = false): Sample => ({
  snapshot: parseSnapshot(text, standby),
  order: 1,
  askedAtMs: 0,
  reached: 0,
});

const started = () => {
  const commits = new Commits(sees);
  commits.restart(1, 10, 100);
  return commits;
};

suite("a snapshot", () => {
  test("is read from PostgreSQL's text, and nothing else is one", () => {
    assert.deepEqual(parseSnapshot("10:20:12,15", false), { xmin: 10, xmax: 20, running: new Set([12, 15]), standby: false });
    assert.deepEqual(parseSnapshot("10:10:", true).running, new Set());
    for (const text of ["", "10:20", "10:20:,", "10:20:x", "10:20:12,", "-1:2:"])
      assert.throws(() => parseSnapshot(text, false), RangeError);
  });

  test("sees what is below xmax and not running; on a standby only what is below xmin", () => {
    const seen = (standby: boolean) =>
      [9, 10, 11, 12, 15, 19, 20].filter((xid) => sees(parseSnapshot("10:20:10,12,15", standby), xid));
    assert.deepEqual(seen(false), [9, 11, 19]);
    assert.deepEqual(seen(true), [9]);
  });
});

suite("a fill reflects the log", () => {
  test("up to what has been applied when its snapshot sees all of it", () => {
    const commits = started();
    commits.apply([commit(11, 100)], 12);
    const open = commits.open(sample("101:101:"));
    assert.equal(commits.boundOf(open), 12);
    commits.apply([], 15);
    assert.equal(commits.boundOf(open), 15);
  });

  test("up to the batch before when commits share a number and it misses one of them", () => {
    const commits = started();
    commits.apply([commit(50, 101), commit(50, 102)], 50);
    // 30 would do by the numbers; but a mark at 20 may be behind transaction 101, which is in the batch and is not seen.
    assert.equal(commits.boundOf(commits.open(sample("101:101:"))), 10);
    assert.equal(commits.boundOf(commits.open(sample("102:102:"))), 10);
    const late = commits.open(sample("103:103:"));
    commits.apply([commit(70, 103), commit(70, 104)], 70);
    assert.equal(commits.boundOf(late), 50);
  });

  test("up to just before a commit that was delivered first and is not visible yet", () => {
    const commits = started();
    commits.apply([commit(11, 100), commit(12, 101), commit(13, 102)], 13);
    const open = commits.open(sample("101:103:101"));
    assert.equal(commits.boundOf(open), 11);
    assert.equal(commits.boundOf(commits.open(sample("103:103:"))), 13);
  });

  test("up to just before a commit that comes while it runs and is not in its snapshot", () => {
    const commits = started();
    const open = commits.open(sample("100:100:"));
    commits.apply([commit(11, 99), commit(12, 100), commit(13, 98)], 13);
    assert.equal(commits.boundOf(open), 11);
  });

  test("up to just before a name that was invalidated by hand, or DDL, while it runs", () => {
    for (const one of [commit(12, undefined), commit(12, 90, true)]) {
      const commits = started();
      const open = commits.open(sample("100:100:"));
      commits.apply([one], 14);
      assert.equal(commits.boundOf(open), 10);
      assert.equal(commits.boundOf(commits.open(sample("100:100:"))), 14);
    }
  });

  test("and counts only if what was under way when the feed began is behind it", () => {
    const commits = started();
    assert.equal(commits.open(sample("99:120:99")).beyondHorizon, false);
    assert.equal(commits.open(sample("100:120:100")).beyondHorizon, true);
    commits.apply([commit(11, 130)], 11);
    commits.serverChanged();
    assert.equal(commits.open(sample("130:140:")).beyondHorizon, false);
    assert.equal(commits.open(sample("131:140:")).beyondHorizon, true);
  });

  test("not at all when continuity was lost while it ran", () => {
    const commits = started();
    const open = commits.open(sample("100:100:"));
    commits.restart(1, 20, 105);
    assert.ok(commits.boundOf(open) < 0);
    assert.equal(commits.applied, 20);
  });

  test("although nobody took a sample for a long time", () => {
    const commits = started();
    for (let i = 0; i < 25_000; i++) commits.apply([commit(11 + i, 1_000 + i)], 11 + i);
    assert.equal(commits.open(sample("1000:30000:1000")).beyondHorizon, false);
    assert.equal(commits.open(sample("26000:30000:")).beyondHorizon, true);
  });

  test("never further than a naive look at everything that was ever applied", () => {
    // Transactions begin, are logged, delivered and become visible in any order; samples are taken at any moment.
    const step = fc.oneof(
      fc.constant("begin"),
      fc.constant("log"),
      fc.constant("show"),
      fc.constant("deliver"),
      fc.constant("sample"),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.nat({ max: 5 })), { maxLength: 80 }), (steps) => {
        const commits = new Commits(sees);
        commits.restart(1, 0, 0);
        let nextXid = 1;
        const running: number[] = []; // begun, not visible
        const logged: { xid: number; number: number; visible: boolean }[] = [];
        let delivered = 0;
        const open: { sample: ReturnType<Commits["open"]>; saw: Set<number> }[] = [];
        for (const [what, n] of steps) {
          const unlogged = running.filter((xid) => !logged.some((one) => one.xid === xid));
          const hidden = logged.filter(({ visible }) => !visible);
          if (what === "begin") running.push(nextXid++);
          else if (what === "log" && unlogged.length > 0) {
            logged.push({ xid: unlogged[n % unlogged.length]!, number: logged.length + 1, visible: false });
          } else if (what === "show" && hidden.length > 0) {
            const one = hidden[n % hidden.length]!;
            one.visible = true;
            running.splice(running.indexOf(one.xid), 1);
          } else if (what === "deliver" && delivered < logged.length) {
            const { xid, number } = logged[delivered++]!;
            commits.apply([commit(number, xid)], number);
          } else if (what === "sample") {
            const visible = logged.filter((one) => one.visible).map(({ xid }) => xid);
            const xmax = Math.max(0, ...visible) + 1;
            const below = running.filter((xid) => xid < xmax);
            const text = `${Math.min(xmax, ...below)}:${xmax}:${below.join(",")}`;
            open.push({ sample: commits.open(sample(text)), saw: new Set(visible) });
          }
          for (const one of open) {
            const bound = commits.boundOf(one.sample);
            const missed = logged.slice(0, delivered).find(({ xid }) => !one.saw.has(xid));
            assert.equal(bound, missed ? missed.number - 1 : delivered);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
