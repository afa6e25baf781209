// The engine by tables: what may be stored, for how long it is fresh, and when it may be used.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { parseDirectives } from "./directives.ts";
import { Fields } from "./fields.ts";
import { formatHttpDate } from "./http-date.ts";
import type { RequestHead, ResponseHead } from "./messages.ts";
import type { CachingRulesOptions } from "./options.ts";
import { currentAge } from "./reuse.ts";
import { createCachingRules } from "./rules.ts";

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const second = 1_000;
const at = (seconds: number) => formatHttpDate(now + seconds * second);

type Given = Readonly<Record<string, string | readonly string[]>>;

const get = (fields: Given = {}, method = "GET"): RequestHead => ({
  method,
  url: "http://a.example/x",
  fields: Fields.from(fields),
});
const answer = (fields: Given, status = 200, delaySeconds = 0): ResponseHead => ({
  status,
  fields: Fields.from(fields),
  requestTimeMs: now - delaySeconds * second,
  responseTimeMs: now,
});

const cc = (value: string | readonly string[], more: Given = {}): Given => ({ "Cache-Control": value, ...more });

suite("what may be stored", () => {
  const why = (fields: Given, options: CachingRulesOptions = {}, status = 200, request = get()) =>
    createCachingRules(options).whyUnstorable(request, answer(fields, status));

  test("whatever says how long it is fresh, with any final status", () => {
    for (const status of [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599]) {
      assert.equal(why(cc("max-age=60"), {}, status), undefined, String(status));
      assert.equal(why({ Expires: at(60), Date: at(0) }, {}, status), undefined, String(status));
    }
    for (const status of [100, 103, 206, 304]) assert.notEqual(why(cc("max-age=60"), {}, status), undefined, String(status));
  });

  test("and what can be confirmed, if its status may be kept without a word", () => {
    assert.equal(why({ ETag: '"a"' }), undefined);
    assert.equal(why({ "Last-Modified": at(-60) }), undefined);
    assert.equal(why(cc("no-cache", { ETag: '"a"' })), undefined);
    assert.equal(why(cc('max-age=60, no-cache="x-a"')), undefined);
    assert.equal(why({ ETag: '"a"' }, {}, 302), "no-freshness");
    assert.equal(why(cc("public", { ETag: '"a"' }), {}, 302), undefined);
  });

  test("but not what would never be used", () => {
    assert.equal(why({}), "no-freshness");
    assert.equal(why(cc("max-age=0")), "no-freshness");
    assert.equal(why(cc("no-cache, max-age=60")), "no-freshness");
    assert.equal(why({ Expires: "0" }), "no-freshness");
  });

  test("nor what must not", () => {
    assert.equal(why(cc("max-age=60, no-store")), "no-store");
    assert.equal(why(cc("max-age=60, No-StOrE")), "no-store");
    assert.equal(why(cc(["max-age=60", "no-store"])), "no-store");
    assert.equal(why(cc("max-age=60, private")), "private");
    assert.equal(why(cc("max-age=60, private"), { shared: false }), undefined);
    assert.equal(why(cc('max-age=60, private="x-user"')), undefined);
    assert.equal(why(cc("max-age=60", { Vary: "*" })), "vary");
    assert.equal(why(cc("max-age=60"), {}, 200, get({ "Cache-Control": "no-store" })), "request-no-store");
    for (const method of ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
      assert.equal(why(cc("max-age=60"), {}, 200, get({}, method)), "method", method);
    }
  });

  test("an answer to somebody only when it is for others", () => {
    const request = get({ Authorization: "Bearer x" });
    assert.equal(why(cc("max-age=60"), {}, 200, request), "authorization");
    assert.equal(why({ Expires: at(60) }, {}, 200, request), "authorization");
    for (const word of ["public", "must-revalidate", "s-maxage=60"])
      assert.equal(why(cc(`max-age=60, ${word}`), {}, 200, request), undefined);
    assert.equal(why(cc("max-age=60"), { shared: false }, 200, request), undefined);
  });

  test("an answer that sets a cookie only when it is for a shared cache, or as it was chosen", () => {
    const cookie = { "Set-Cookie": "a=b" };
    assert.equal(why(cc("max-age=60", cookie)), "set-cookie");
    assert.equal(why(cc("max-age=60, public", cookie)), undefined);
    assert.equal(why(cc("s-maxage=60", cookie)), undefined);
    assert.equal(why({ "CDN-Cache-Control": "max-age=60", ...cookie }), undefined);
    assert.equal(why(cc("max-age=60", cookie), { setCookie: "store" }), undefined);
    assert.equal(why(cc("max-age=60, public", cookie), { setCookie: "refuse" }), "set-cookie");
  });

  test("must-understand: a known status whatever no-store says, an unknown one never", () => {
    assert.equal(why(cc("max-age=60, must-understand, no-store")), undefined);
    assert.equal(why(cc("max-age=60, must-understand"), {}, 599), "status");
  });

  test("an answer to POST that is the resource itself and says how long it is fresh", () => {
    const post = get({}, "POST");
    assert.equal(why(cc("max-age=60", { "Content-Location": "/x" }), {}, 200, post), undefined);
    assert.equal(why(cc("max-age=60", { "Content-Location": "/y" }), {}, 200, post), "method");
    assert.equal(why({ ETag: '"a"', "Content-Location": "/x" }, {}, 200, post), "method");
  });

  test("a targeted field is asked before Cache-Control, and counts for nothing when it is not well-formed", () => {
    assert.equal(why({ "CDN-Cache-Control": "max-age=60", ...cc("no-store") }), undefined);
    assert.equal(why({ "CDN-Cache-Control": "no-store", ...cc("max-age=60") }), "no-store");
    assert.equal(why({ "CDN-Cache-Control": "private", ...cc("max-age=60") }), "private");
    assert.equal(why({ "CDN-Cache-Control": "max-age=60, &&&", ...cc("no-store") }), "no-store");
    assert.equal(why({ "CDN-Cache-Control": 'max-age="60"', ...cc("no-store") }), "no-freshness");
    assert.equal(why({ "CDN-Cache-Control": "max-age=60", ...cc("no-store") }, { targets: [] }), "no-store");
    const targets = ["mine-cache-control", "cdn-cache-control"];
    assert.equal(why({ "CDN-Cache-Control": "max-age=60", "Mine-Cache-Control": "no-store" }, { targets }), "no-store");
  });

  test("no-store and private forbid whatever else stands beside them", () => {
    const line = fc.array(fc.constantFrom("max-age=60", "s-maxage=60", "public", "immutable", 'x="y"', "must-revalidate", "@"));
    fc.assert(
      fc.property(line, fc.constantFrom("no-store", "private"), line, (before, word, after) => {
        assert.notEqual(why(cc([...before, word, ...after].join(", "))), undefined);
      }),
    );
  });

  test("fields that are for one user or must be confirmed are not kept, nor Age", () => {
    const fields = cc('max-age=60, private="x-user", no-cache="x-a, x-b"', { "X-User": "1", "X-A": "1", "X-C": "1", Age: "3" });
    const kept = (options: CachingRulesOptions) => [...createCachingRules(options).storedFields(answer(fields)).names()];
    assert.deepEqual(kept({}), ["cache-control", "x-c"]);
    assert.deepEqual(kept({ shared: false }), ["cache-control", "x-user", "x-c"]);
  });
});

suite("how long an answer is fresh", () => {
  const lifetime = (fields: Given, options: CachingRulesOptions = {}, status = 200) =>
    createCachingRules(options).factsOf(answer(fields, status)).lifetimeMs / second;

  for (const [name, fields, seconds] of [
    ["max-age", cc("max-age=60"), 60],
    ["s-maxage before max-age", cc("max-age=1, s-maxage=60"), 60],
    ["a shorter s-maxage, too", cc(["max-age=60", "s-maxage=1"]), 1],
    ["max-age before Expires", cc("max-age=60", { Expires: at(-60), Date: at(0) }), 60],
    ["max-age=0 before Expires", cc("max-age=0", { Expires: at(60), Date: at(0) }), 0],
    ["Expires less Date", { Expires: at(60), Date: at(20) }, 40],
    ["Expires less the time it came, without a Date", { Expires: at(60), Date: "foo" }, 60],
    ["Expires before Date", { Expires: at(60), Date: at(80) }, 0],
    ["an Expires that is no date", { Expires: "0", Date: at(0) }, 0],
    ["the earliest Expires", { Expires: [at(60), at(30)], Date: at(0) }, 30],
    ["the earliest Expires, which is no date", { Expires: [at(60), "x"], Date: at(0) }, 0],
    ["a number that is none", cc("max-age=-60"), 0],
    ["no word", { "Last-Modified": at(-1_000), Date: at(0) }, 0],
    ["the targeted field before all", { ...cc("max-age=60, s-maxage=60"), "CDN-Cache-Control": "max-age=5", Expires: at(9) }, 5],
    ["the targeted field even when it says nothing", { ...cc("max-age=60"), "CDN-Cache-Control": "foo", Expires: at(9) }, 0],
  ] as const) {
    test(name, () => assert.equal(lifetime(fields), seconds));
  }

  test("a private cache does not know s-maxage, nor targeted fields of its own accord", () => {
    assert.equal(lifetime(cc("max-age=1, s-maxage=60"), { shared: false }), 1);
    assert.equal(lifetime({ ...cc("max-age=1"), "CDN-Cache-Control": "max-age=60" }, { shared: false }), 1);
  });

  test("by the rule of a tenth only when it was chosen, for the statuses that may be, within its bound", () => {
    const old = { "Last-Modified": at(-1_000), Date: at(0) };
    assert.equal(lifetime(old, { heuristic: true }), 100);
    assert.equal(lifetime({ ...old, ...cc("public") }, { heuristic: true }, 599), 100);
    for (const status of [200, 203, 204, 404, 405, 410, 414, 501]) assert.equal(lifetime(old, { heuristic: true }, status), 100);
    for (const status of [201, 202, 403, 502, 503, 504, 599]) assert.equal(lifetime(old, { heuristic: true }, status), 0);
    assert.equal(lifetime({ "Last-Modified": at(-1e7), Date: at(0) }, { heuristic: true, maxHeuristic: "1h" }), 3_600);
    assert.equal(lifetime({ ...old, ...cc("max-age=5") }, { heuristic: true }), 5);
  });
});

suite("how old an answer is", () => {
  const age = (fields: Given, delaySeconds = 0, laterSeconds = 0) =>
    currentAge(createCachingRules().factsOf(answer(fields, 200, delaySeconds)), now + laterSeconds * second) / second;

  test("what it says, the time on its way, and the time it stood here", () => {
    assert.equal(age({}), 0);
    assert.equal(age({ Age: "30" }), 30);
    assert.equal(age({ Age: "30" }, 5, 10), 45);
  });

  test("or the time since its Date, if that is longer", () => {
    assert.equal(age({ Date: at(-100) }), 100);
    assert.equal(age({ Date: at(-100), Age: "30" }), 100);
    assert.equal(age({ Date: at(-10), Age: "25" }), 25);
    assert.equal(age({ Date: at(10), Age: "15" }), 15);
    assert.equal(age({ Date: at(50) }), 0);
  });

  test("of several ages the first counts, and one that is no number does not", () => {
    for (const [value, seconds] of [
      ["7200, 0", 7_200],
      ["0, 7200", 0],
      [["7200", "0"], 7_200],
      ["abc", 0],
      ["-7200", 0],
      ["7200.0", 0],
      ["7200;foo=bar", 0],
      ["2147483649", 2 ** 31],
    ] as const) {
      assert.equal(age({ Age: value, Date: at(0) }), seconds, String(value));
    }
  });

  test("a clock that was set back does not make it younger than it came", () => assert.equal(age({ Age: "7" }, 0, -100), 7));
});

suite("whether a stored answer may be used", () => {
  const rules = createCachingRules();
  const verdict = (fields: Given, laterSeconds: number, request = "") => {
    const said = rules.judge(parseDirectives([request]), rules.factsOf(answer(fields)), now + laterSeconds * second);
    return said.kind === "validate" ? said.because : said.kind;
  };
  const onError = (fields: Given, laterSeconds: number, request = "") =>
    rules.mayServeOnError(parseDirectives([request]), rules.factsOf(answer(fields)), now + laterSeconds * second);

  for (const [fields, later, request, expected] of [
    ["max-age=60", 59, "", "fresh"],
    ["max-age=60", 60, "", "stale"],
    ["no-cache, max-age=60", 0, "", "no-cache"],
    ["max-age=60", 0, "no-cache", "request"],
    ["max-age=60", 0, "max-age=0", "request"],
    ["max-age=60", 5, "max-age=3", "request"],
    ["max-age=60", 5, "max-age=10", "fresh"],
    ["max-age=60", 5, "max-age=x", "request"],
    ["max-age=60", 5, "min-fresh=100", "request"],
    ["max-age=60", 5, "min-fresh=10", "fresh"],
    ["max-age=60, immutable", 5, "max-age=0", "fresh"],
    ["max-age=60, immutable", 5, "no-cache", "request"],
    ["max-age=60, immutable", 61, "", "stale"],
    ["max-age=60", 70, "max-stale=20", "accepted"],
    ["max-age=60", 90, "max-stale=20", "stale"],
    ["max-age=60", 9_000, "max-stale", "accepted"],
    ["max-age=60", 70, "max-stale=x", "stale"],
    ["max-age=60, must-revalidate", 70, "max-stale", "stale"],
    ["max-age=60, proxy-revalidate", 70, "max-stale", "stale"],
    ["s-maxage=60", 70, "max-stale", "stale"],
    ["max-age=60, stale-while-revalidate=20", 70, "", "refresh"],
    ["max-age=60, stale-while-revalidate=20", 80, "", "stale"],
    ["max-age=60, stale-while-revalidate=20, must-revalidate", 70, "", "stale"],
    ["s-maxage=60, stale-while-revalidate=20", 70, "", "refresh"],
    ["max-age=60, stale-while-revalidate=20", 70, "no-cache", "request"],
  ] as const) {
    test(`${fields}, ${later} s later${request && `, request ${request}`}: ${expected}`, () => {
      const said = verdict(cc(fields), later, request);
      if (expected === "accepted") {
        const kind = rules.judge(parseDirectives([request]), rules.factsOf(answer(cc(fields))), now + later * second).kind;
        assert.equal(kind, "stale");
      } else assert.equal(said, expected);
    });
  }

  for (const [fields, later, request, expected] of [
    ["max-age=60", 61, "", true],
    ["max-age=60", 60 + 3_599, "", true],
    ["max-age=60", 60 + 3_601, "", false],
    ["max-age=60, stale-if-error=9000", 60 + 8_999, "", true],
    ["max-age=60, stale-if-error=10", 71, "", false],
    ["max-age=60, stale-if-error=10", 71, "stale-if-error=20", true],
    ["max-age=60, stale-if-error=0", 61, "", false],
    ["max-age=60, must-revalidate", 61, "", false],
    ["max-age=60, proxy-revalidate, stale-if-error=60", 61, "", false],
    ["s-maxage=60", 61, "", false],
    ["s-maxage=60, stale-if-error=60", 61, "", true],
    ["max-age=60, no-cache", 1, "", false],
    ["max-age=60", 61, "no-cache", false],
    ["max-age=60", 30, "max-age=0", true],
  ] as const) {
    test(`when the origin fails: ${fields}, ${later} s later${request && `, request ${request}`}: ${String(expected)}`, () =>
      assert.equal(onError(cc(fields), later, request), expected));
  }

  test("time never makes a stale answer fresh", () => {
    const directives = fc.array(fc.constantFrom("max-age=60", "s-maxage=30", "must-revalidate", "immutable", "public"));
    fc.assert(
      fc.property(directives, fc.nat(200), fc.nat(200), (list, early, more) => {
        const fields = cc(list.join(", "));
        if (verdict(fields, early) !== "fresh") assert.notEqual(verdict(fields, early + more), "fresh");
      }),
    );
  });
});
