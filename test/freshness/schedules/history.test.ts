// The checker must catch what it is there for: each kind of broken promise, planted.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Acknowledged, type Answer, History, type Version } from "./history.ts";

// Row 1 is written by process 0 at 100 and by process 1 at 200; row 2 moves from group 7 to group 8 at 300.
const versions: readonly Version[] = [
  { id: 1, version: 1, group: 7 },
  { id: 1, version: 2, group: 7 },
  { id: 1, version: 3, group: 7 },
  { id: 2, version: 1, group: 7 },
  { id: 2, version: 2, group: 8 },
];
const acknowledged: readonly Acknowledged[] = [
  { id: 2, version: 2, process: 0, atMs: 300 },
  { id: 1, version: 2, process: 0, atMs: 100 },
  { id: 1, version: 3, process: 1, atMs: 200 },
];
const history = new History(versions, acknowledged, { boundMs: 50, checksMade: true });
const answer = (given: Partial<Answer>): Answer => ({
  process: 2,
  askedAtMs: 1_000,
  of: { id: 1 },
  rows: [[1, 3]],
  fromCache: true,
  ...given,
});
const why = (given: Partial<Answer>): string | undefined => history.check(answer(given))?.why;

test("an answer may be as old as the bound, and no older", () => {
  assert.equal(why({}), undefined);
  assert.equal(why({ askedAtMs: 250, rows: [[1, 2]] }), undefined, "written exactly the bound ago");
  assert.match(why({ askedAtMs: 251, rows: [[1, 2]] })!, /shows version 2 of row 1 where 3 was due.*longer ago than the bound/);
  assert.match(why({ askedAtMs: 160, rows: [[1, 1]] })!, /shows version 1 of row 1 where 2 was due/);
});

test("the process that wrote gets its own write at once", () => {
  assert.equal(why({ askedAtMs: 201, rows: [[1, 2]] }), undefined);
  assert.match(why({ askedAtMs: 201, rows: [[1, 2]], process: 1 })!, /where 3 was due: its process/);
});

test("who carries a token gets the write that it names", () => {
  assert.match(why({ askedAtMs: 201, rows: [[1, 2]], token: [1, 3] })!, /where 3 was due: its token/);
  assert.equal(why({ askedAtMs: 201, rows: [[1, 2]], token: [2, 2] }), undefined);
});

test("a list lacks no row that must be in it, and shows none that has left", () => {
  const of = { group: 7 };
  assert.equal(
    why({
      of,
      askedAtMs: 320,
      rows: [
        [1, 3],
        [2, 1],
      ],
    }),
    undefined,
  );
  assert.match(
    why({
      of,
      askedAtMs: 351,
      rows: [
        [1, 3],
        [2, 1],
      ],
    })!,
    /shows version 1 of row 2 where 2 was due/,
  );
  assert.match(why({ of, askedAtMs: 320, rows: [[2, 1]] })!, /row 1 is missing/);
  assert.equal(why({ of, askedAtMs: 320, rows: [[1, 3]] }), undefined, "a move that is committed may be seen early");
  assert.match(why({ of: { group: 8 }, askedAtMs: 351, rows: [] })!, /row 2 is missing/);
  assert.match(
    why({
      of: { group: 8 },
      askedAtMs: 351,
      rows: [
        [2, 2],
        [1, 3],
      ],
    })!,
    /is in group 7/,
  );
});

test("what was never committed is caught, and so is an acknowledged write that the history lacks", () => {
  assert.match(why({ rows: [[1, 4]] })!, /never committed/);
  assert.match(why({ rows: [] })!, /row 1 is missing/);
  const lost = [...acknowledged, { id: 1, version: 9, process: 0, atMs: 1 }];
  assert.throws(() => new History(versions, lost, { boundMs: 50, checksMade: true }), /proves nothing/);
});

test("where a standby answers for itself, only the cache's answers are held to the promise", () => {
  const behind = new History(versions, acknowledged, { boundMs: 50, checksMade: false });
  const old = answer({ rows: [[1, 1]] });
  assert.equal(behind.check({ ...old, fromCache: false }), undefined);
  assert.match(behind.check(old)!.why, /where 3 was due/);
});
