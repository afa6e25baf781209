// What docs/http-caching.md shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Fields, createCachingRules, endToEnd, parseDirectives } from "./index.ts";

test("the page's example", () => {
  const now = Date.UTC(2026, 5, 1);
  const request = { method: "GET", url: "https://api.example/cities", fields: new Fields(["Accept", "application/json"]) };
  const rawHeaders = ["Content-Type", "application/json", "Cache-Control", "max-age=60, stale-while-revalidate=30", "ETag", '"7"'];
  // #region rules
  const rules = createCachingRules({ staleIfError: "10m" });

  const fields = endToEnd(new Fields(rawHeaders)); // node's rawHeaders, less what belongs to the connection
  const response = { status: 200, fields, requestTimeMs: now - 40, responseTimeMs: now };
  const reason = rules.whyUnstorable(request, response); // undefined: it may be stored
  const facts = rules.factsOf(response); // lifetime, age, what it allows beyond its time

  const later = (ms: number, cacheControl: string) => rules.judge(parseDirectives([cacheControl]), facts, now + ms).kind;
  // #endregion
  assert.equal(reason, undefined);
  // #region verdicts
  assert.equal(later(59_000, ""), "fresh");
  assert.equal(later(70_000, ""), "refresh"); // use it, and make it anew meanwhile
  assert.equal(later(95_000, ""), "validate"); // ask first
  assert.equal(later(95_000, "max-stale=60"), "stale"); // the client agrees
  assert.equal(later(10_000, "no-cache"), "validate"); // the client does not
  // #endregion
});
