import assert from "node:assert/strict";
import { test } from "node:test";
import type { Outcome } from "../../cache/index.ts";
import { bypassed, cacheStatusOf, failed } from "./cache-status.ts";

const outcome = (given: Partial<Outcome<unknown>>): Outcome<unknown> => ({
  value: undefined,
  state: "miss",
  tier: undefined,
  refusal: undefined,
  stored: false,
  reason: undefined,
  admitted: true,
  ageMs: 0,
  remainingMs: 0,
  dependencies: new Uint32Array(0),
  ...given,
});

test("every way in which an answer comes about has its words of RFC 9211", () => {
  const said: [Partial<Outcome<unknown>>, string][] = [
    [{ state: "hit", tier: "memory", stored: true, remainingMs: 59_400 }, "m; hit; ttl=59"],
    [{ state: "hit", tier: "store", stored: true, remainingMs: 1_000 }, "m; hit; ttl=1; detail=store"],
    [{ state: "stale", refusal: "expired", remainingMs: -1_500 }, "m; hit; ttl=-2; detail=expired"],
    [{ state: "stale", refusal: "written", remainingMs: 500 }, "m; hit; ttl=0; detail=written"],
    [{ state: "miss", stored: true, remainingMs: 60_000 }, "m; fwd=uri-miss; stored; ttl=60"],
    [{ state: "miss", stored: true, refusal: "written", remainingMs: 60_000 }, "m; fwd=stale; stored; ttl=60; detail=written"],
    [{ state: "miss", stored: true, refusal: "expired", remainingMs: 1 }, "m; fwd=stale; stored; ttl=0; detail=expired"],
    [{ state: "miss", refusal: "token", reason: "x y" }, 'm; fwd=request; detail="x y"'],
    [{ state: "miss", refusal: "own-write", stored: true, remainingMs: 2_000 }, "m; fwd=stale; stored; ttl=2; detail=own-write"],
    [{ state: "joined", stored: true, remainingMs: 2_000 }, "m; fwd=uri-miss; collapsed; stored; ttl=2"],
    [{ state: "joined", reason: "too large" }, 'm; fwd=uri-miss; collapsed; detail="too large"'],
    [{ state: "bypass", refusal: "feed-silent" }, "m; fwd=bypass; detail=feed-silent"],
    [{ state: "bypass" }, "m; fwd=bypass"],
  ];
  for (const [given, expected] of said) assert.equal(cacheStatusOf("m", outcome(given)), expected);
  assert.equal(bypassed("m", "auth"), "m; fwd=bypass; detail=auth");
  assert.equal(failed("m"), "m; fwd=miss");
});

test("whatever a reason says, the header is one well-formed line of bounded length", () => {
  for (const reason of ['a "b" \\', "ü\r\nset-cookie: x", "x".repeat(5_000), "", "1st", "a,b;c"]) {
    const header = cacheStatusOf("m", outcome({ reason }));
    assert.match(header, /^m; fwd=uri-miss; detail="(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"$/);
    assert.ok(header.length < 450);
  }
});
