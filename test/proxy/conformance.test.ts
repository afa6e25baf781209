// What HTTP asks of a cache, at the proxy as it comes: over sockets, to a real origin. By subject, in the order of RFC 9111; the
// engine's own tests go further into each field's syntax.

import { after, before, suite } from "node:test";
import { type Case, type Step, conformance } from "./conformance.ts";
import { type Answer, type Headers, type World, createWorld, date } from "./origin.ts";

let world: World;
before(async () => {
  world = await createWorld();
});
after(async () => {
  await world[Symbol.asyncDispose]();
});

const cc = (value: string | readonly string[], headers: Headers = {}): Answer => ({
  headers: { "Cache-Control": value, ...headers },
});
const plain = (headers: Headers, status = 200): Answer => ({ headers, status });

/** Asked once with this answer, and again after some seconds. */
const twice = (name: string, answer: Answer, from: "stored" | "origin", seconds = 3): Case => [
  name,
  { answer, from: "origin" },
  { after: seconds, answer, from },
];

suite("freshness", () => {
  conformance(
    () => world,
    [
      twice("without a word it is not used again", {}, "origin"),
      twice("max-age", cc("max-age=3600"), "stored"),
      twice("max-age that is over", cc("max-age=2"), "origin"),
      twice("max-age=0", cc("max-age=0"), "origin"),
      twice("max-age of more than 31 bits", cc("max-age=2147483649"), "stored"),
      twice("max-age of more than 32 bits", cc("max-age=99999999999"), "stored"),
      twice("an age beyond it", cc("max-age=3600", { Age: "7200" }), "origin"),
      twice("a Date that is further back than it", cc("max-age=3600", { Date: date(-7_200) }), "origin"),
      twice("max-age before a past Expires", cc("max-age=3600", { Expires: date(-7_200) }), "stored"),
      twice("max-age before an Expires that is none", cc("max-age=3600", { Expires: "0" }), "stored"),
      twice("max-age=0 before a future Expires", cc("max-age=0", { Expires: date(3_600) }), "origin"),
      twice("with an unknown directive", cc("foobar, max-age=3600"), "stored"),
      twice("in other letters", cc("MaX-aGe=3600"), "stored"),
      twice("a negative max-age", cc("max-age=-3600"), "origin"),
      twice("s-maxage", cc("s-maxage=3600"), "stored"),
      twice("a short s-maxage before max-age", cc("max-age=3600, s-maxage=1"), "origin"),
      twice("the same on two lines", cc(["max-age=3600", "s-maxage=1"]), "origin"),
      twice("a long s-maxage before max-age and Expires", cc("max-age=0, s-maxage=3600", { Expires: date(-10) }), "stored"),
      twice("a future Expires", plain({ Expires: date(3_600) }), "stored"),
      twice("a past Expires", plain({ Expires: date(-3_600) }), "origin"),
      twice("Expires now", plain({ Expires: date(0) }), "origin", 0),
      twice("Expires before Date, both ahead", plain({ Expires: date(300), Date: date(400) }), "origin"),
      twice("an Expires that is no date", plain({ Expires: "0" }), "origin"),
      twice("Expires with a Date that is none", plain({ Expires: date(60), Date: "foo" }), "stored"),
      twice("Expires, a slow Date and an age", plain({ Expires: date(10), Date: date(-10), Age: "25" }), "origin", 0),
      twice("Expires, a fast Date and an age", plain({ Expires: date(20), Date: date(10), Age: "15" }), "origin", 0),
      twice("single quotes", cc("max-age='3600'"), "origin"),
      twice("max-age in the quotes of another", cc('extension="max-age=3600", max-age=1'), "origin"),
      twice("leading zeros", cc("max-age=003600"), "stored"),
      twice("white space around =", cc("max-age = 3600"), "origin"),
      twice("a fraction", cc("max-age=3600.0"), "origin"),
      twice("two values of which one is over", cc("max-age=1, max-age=1800"), "origin"),
      twice("an age that is no number", cc("max-age=3600", { Age: "abc" }), "stored"),
      twice("a negative age", cc("max-age=3600", { Age: "-7200" }), "stored"),
      twice("ages of which the first is old", cc("max-age=3600", { Age: "7200, 0" }), "origin"),
      twice("ages of which the first is young", cc("max-age=3600", { Age: ["0", "7200"] }), "stored"),
      twice("a last change does not count unless chosen", plain({ "Last-Modified": date(-100_000) }), "origin"),
    ],
  );
});

suite("what is stored", () => {
  const statuses: Case[] = [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599].flatMap(
    (status): Case[] => [
      [
        `${status} that is fresh`,
        { answer: { ...plain({ Expires: date(3_600) }, status), body: "once" }, from: "origin" },
        { after: 3, from: "stored", status, text: status === 204 ? "" : "once" },
      ],
      twice(`${status} that is not`, plain({ Expires: date(-3_600) }, status), "origin"),
    ],
  );
  const auth = { Authorization: "Bearer x" };
  const authorised = (name: string, answer: Answer, from: "stored" | "origin"): Case => [
    name,
    { request: auth, answer, from: "origin", asked: auth },
    { request: auth, answer, from },
  ];
  conformance(
    () => world,
    [
      ...statuses,
      twice("no-store", cc("no-store"), "origin"),
      twice("no-store in other letters", cc("No-StOrE"), "origin"),
      twice("no-store beside max-age and Expires", cc("max-age=10000, no-store", { Expires: date(10_000) }), "origin"),
      twice("private", cc("private, max-age=3600"), "origin"),
      twice("must-understand and a status that nobody knows", { ...cc("max-age=3600, must-understand"), status: 599 }, "origin"),
      twice("must-understand and one that is known, with no-store", cc("max-age=3600, must-understand, no-store"), "stored"),
      authorised("an answer to somebody", cc("max-age=3600"), "origin"),
      authorised("an answer to somebody that is public", cc("max-age=3600, public"), "stored"),
      authorised("an answer to somebody with must-revalidate", cc("max-age=3600, must-revalidate"), "stored"),
      authorised("an answer to somebody with s-maxage", cc("s-maxage=3600"), "stored"),
      twice("one that sets a cookie", cc("max-age=3600", { "Set-Cookie": "a=b" }), "origin"),
      twice("one that sets a cookie and is public", cc("max-age=3600, public", { "Set-Cookie": "a=b" }), "stored"),
      twice("a download", cc("max-age=3600", { "Content-Disposition": "attachment; filename=x" }), "stored"),
      [
        "the request's cookie does not matter",
        { answer: cc("max-age=3600"), from: "origin" },
        { request: { Cookie: "a=b" }, from: "stored" },
      ],
      [
        "a request with no-store is neither answered from the store nor stored",
        { request: { "Cache-Control": "no-store" }, answer: cc("max-age=3600"), from: "origin" },
        { answer: cc("max-age=3600"), from: "origin" },
        { request: { "Cache-Control": "no-store" }, from: "origin" },
        { from: "stored" },
      ],
      [
        "the query is part of the name",
        { path: "?a=1", answer: cc("max-age=3600"), from: "origin" },
        { path: "?a=1", from: "stored" },
        { path: "?a=2", from: "origin" },
      ],
      [
        "a POST's answer that is the resource itself",
        {
          method: "POST",
          body: "x",
          answer: { headers: { "Cache-Control": "max-age=60", "Content-Location": "" }, body: "made" },
          from: "origin",
        },
        { from: "stored", text: "made" },
      ],
    ],
  );
});

suite("fields of a stored answer", () => {
  const kept = [
    "Test-Header",
    "X-Test-Header",
    "Content-Foo",
    "Content-Encoding",
    "Content-MD5",
    "Clear-Site-Data",
    "Content-Range",
  ];
  const hops = ["Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection", "TE"];
  conformance(
    () => world,
    [
      ...[...kept, "X-Frame-Options", "ETag", "Content-Language", "Link"].map((name): Case => [
        `${name} is kept`,
        { answer: cc("max-age=60", { [name]: '"v"' }), from: "origin", headers: { [name]: '"v"' } },
        { after: 1, from: "stored", headers: { [name]: '"v"' } },
      ]),
      ...[...hops, "Upgrade"].map((name): Case => [
        `${name} is not`,
        { answer: cc("max-age=60", { [name]: "v=1" }), from: "origin" },
        { after: 1, from: "stored", headers: { [name]: null, "x-answer": "answer 1" } },
      ]),
      [
        "those that Connection names are not",
        { answer: cc("max-age=60", { Connection: "a, b, close", A: "1", B: "2", C: "3" }), from: "origin" },
        { from: "stored", headers: { a: null, b: null, c: "3" } },
      ],
      [
        "those that no-cache names are not",
        { answer: cc('max-age=60, no-cache="a, b"', { A: "1", B: "2", C: "3" }), from: "origin" },
        { from: "stored", headers: { a: null, b: null, c: "3" } },
      ],
      [
        "its age is told, from its own",
        { answer: cc("max-age=600", { Age: "30" }), from: "origin" },
        { after: 3, from: "stored", headers: { Age: 33 } },
      ],
      [
        "its date and its Expires are left alone",
        {
          answer: plain({ Expires: "Fri, 01 Jan 2038 01:01:01 GMT", Date: "Mon, 01 Jan 2024 00:00:00 GMT", ETag: '"a"' }),
          from: "origin",
        },
        { after: 3, from: "stored", headers: { Date: "Mon, 01 Jan 2024 00:00:00 GMT", Expires: "Fri, 01 Jan 2038 01:01:01 GMT" } },
      ],
    ],
  );
});

suite("Vary", () => {
  const varied = (vary: string | readonly string[], more: Headers = {}): Answer => cc("max-age=5000", { Vary: vary, ...more });
  const two = (name: string, vary: string | readonly string[], one: Headers, other: Headers, from: "stored" | "origin"): Case => [
    name,
    { request: one, answer: varied(vary), from: "origin" },
    { request: other, answer: varied(vary), from },
  ];
  conformance(
    () => world,
    [
      two("the same value", "Foo", { Foo: "1" }, { Foo: "1" }, "stored"),
      two("another value", "Foo", { Foo: "1" }, { Foo: "2" }, "origin"),
      two("a value that was not there", "Foo", {}, { Foo: "1" }, "origin"),
      two("a value that is not there any more", "Foo", { Foo: "1" }, {}, "origin"),
      two("others do not matter", "Foo", { Foo: "1", Other: "2" }, { Foo: "1", Other: "3" }, "stored"),
      two("all of three", "Foo, Bar, Baz", { Foo: "1", Bar: "a", Baz: "7" }, { Baz: "7", Foo: "1", Bar: "a" }, "stored"),
      two("two of three", "Foo, Bar, Baz", { Foo: "1", Bar: "a", Baz: "7" }, { Foo: "1", Bar: "b", Baz: "7" }, "origin"),
      two("three of which one is never there", "Foo, Bar, Baz", { Foo: "1", Baz: "7" }, { Foo: "1", Baz: "7" }, "stored"),
      two("names on two lines", ["Foo", "Bar"], { Foo: "1", Bar: "a" }, { Foo: "1", Bar: "b" }, "origin"),
      ...["*", "*, *", ", *", "*, Foo", "Foo, *"].map((vary) => two(vary, vary, { Foo: "1" }, { Foo: "1" }, "origin")),
      two("lines against a list", "Foo", { Foo: "1, 2" }, { Foo: ["1", "2"] }, "stored"),
      two("white space", "Foo", { Foo: "1,2" }, { Foo: " 1,  2 " }, "stored"),
      two("the order of languages", "Accept-Language", { "Accept-Language": "en, de" }, { "Accept-Language": "de, EN" }, "stored"),
      [
        "variants stand beside each other",
        { request: { Foo: "1" }, answer: { ...varied("Foo"), body: "one" }, from: "origin" },
        { request: { Foo: "2" }, answer: { ...varied("Foo"), body: "two" }, from: "origin" },
        { request: { Foo: "1" }, from: "stored", text: "one" },
        { request: { Foo: "2" }, from: "stored", text: "two" },
      ],
      [
        "an answer that begins to vary ends the one that did not",
        { request: { Foo: "1" }, answer: cc("max-age=2"), from: "origin" },
        { after: 3, request: { Foo: "1" }, answer: varied("Foo"), from: "origin" },
        { request: { Foo: "2" }, answer: varied("Foo"), from: "origin" },
      ],
    ],
  );
});

suite("conditional requests of clients", () => {
  const tagged = (etag: string): Answer => cc("max-age=5000", { ETag: etag, "Last-Modified": date(-3_000) });
  const asks = (name: string, answer: Answer, request: Headers, status: number, headers: Step["headers"] = {}): Case => [
    name,
    { answer, from: "origin" },
    { request, from: "stored", status, headers },
  ];
  conformance(
    () => world,
    [
      asks("by tag", tagged('"a"'), { "If-None-Match": '"a"' }, 304, { ETag: '"a"', "Content-Length": null }),
      asks("by one of several tags", tagged('"a"'), { "If-None-Match": '"x", "a", "y"' }, 304),
      asks("by weak tag", tagged('W/"a"'), { "If-None-Match": 'W/"a"' }, 304),
      asks("by any tag", tagged('"a"'), { "If-None-Match": "*" }, 304),
      asks("by another tag", tagged('"a"'), { "If-None-Match": '"b"' }, 200),
      asks("the tag goes before the date", tagged('"a"'), { "If-None-Match": '"a"', "If-Modified-Since": date(-9_000) }, 304),
      asks("another tag, too", tagged('"a"'), { "If-None-Match": '"b"', "If-Modified-Since": date(0) }, 200),
      [
        "by date, later than the last change, in the old format",
        { answer: cc("max-age=9000", { "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT" }), from: "origin" },
        { request: { "If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT" }, from: "stored", status: 304 },
        { request: { "If-Modified-Since": date(-10) }, from: "stored", status: 304 },
        { request: { "If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT" }, from: "stored", status: 200 },
      ],
      [
        "what is not stored is asked for whole, and the client's condition holds for it",
        {
          request: { "If-None-Match": '"a"' },
          answer: tagged('"a"'),
          from: "passed",
          status: 304,
          asked: { "If-None-Match": null },
        },
        { from: "stored", status: 200, text: "body" },
      ],
      [
        "preconditions of the origin go past the cache",
        { answer: tagged('"a"'), from: "origin" },
        { request: { "If-Match": '"a"' }, answer: tagged('"a"'), from: "origin", asked: { "If-Match": '"a"' } },
      ],
    ],
  );
});

suite("validation", () => {
  const short = (headers: Headers): Answer => cc("max-age=2", headers);
  const confirmed = (headers: Headers, by: "if-none-match" | "if-modified-since" = "if-none-match"): Answer => ({
    headers,
    onlyIfAsked: by,
  });
  const updated: Case[] = ["Test-Header", "Content-Foo", "Content-Security-Policy", "X-Frame-Options", "Content-Location"].map(
    (name): Case => [
      `a 304 renews ${name}`,
      { answer: short({ ETag: '"a"', [name]: "/old" }), from: "origin" },
      {
        after: 3,
        answer: confirmed({ ETag: '"a"', [name]: "/new", "Cache-Control": "max-age=60" }),
        from: "confirmed",
        headers: { [name]: "/new" },
      },
      { after: 3, from: "stored", headers: { [name]: "/new" } },
    ],
  );
  const left: Case[] = ["Content-Encoding", "Content-MD5", "Content-Range", "ETag"].map((name): Case => [
    `a 304 leaves ${name} alone`,
    { answer: short({ ETag: '"a"', [name]: '"a"' }), from: "origin" },
    {
      after: 3,
      answer: confirmed({ ETag: '"a"', [name]: '"b"', "Cache-Control": "max-age=60" }),
      from: "confirmed",
      headers: { [name]: '"a"' },
    },
    { after: 3, from: "stored", headers: { [name]: '"a"' } },
  ]);
  conformance(
    () => world,
    [
      [
        "by tag, and what the 304 does not say stays",
        { answer: { ...short({ ETag: '"a"', A: "1" }), body: "kept" }, from: "origin" },
        {
          after: 3,
          answer: confirmed({ ETag: '"a"' }),
          from: "confirmed",
          asked: { "If-None-Match": '"a"' },
          headers: { A: "1" },
          text: "kept",
        },
        { after: 1, from: "stored", text: "kept" },
      ],
      [
        "by weak tag, as it was given",
        { answer: short({ ETag: 'W/"a"' }), from: "origin" },
        { after: 3, answer: confirmed({}), from: "confirmed", asked: { "If-None-Match": 'W/"a"' } },
      ],
      [
        "by date",
        { answer: short({ "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT" }), from: "origin" },
        {
          after: 3,
          answer: confirmed({}, "if-modified-since"),
          from: "confirmed",
          asked: { "If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT" },
        },
      ],
      [
        "a client with a condition of its own gets its 304 after ours",
        { answer: short({ ETag: '"a"' }), from: "origin" },
        {
          after: 3,
          request: { "If-None-Match": '"x", "a"' },
          answer: confirmed({}),
          from: "confirmed",
          status: 304,
          asked: { "If-None-Match": '"a"' },
        },
      ],
      [
        "a full answer replaces what was stored",
        { answer: { ...short({ ETag: '"a"' }), body: "old" }, from: "origin" },
        { after: 3, answer: { ...cc("max-age=60", { ETag: '"b"' }), body: "new" }, from: "origin", text: "new" },
        { from: "stored", text: "new" },
      ],
      [
        "no-cache is stored and asked about each time",
        { answer: cc("no-cache, max-age=60", { ETag: '"a"' }), from: "origin" },
        { answer: confirmed({}), from: "confirmed" },
        { answer: confirmed({}), from: "confirmed" },
      ],
      [
        "must-revalidate only when its time is over",
        { answer: cc("max-age=2, must-revalidate", { ETag: '"a"' }), from: "origin" },
        { from: "stored" },
        { after: 3, answer: confirmed({}), from: "confirmed" },
      ],
      [
        "the request's fields that Vary names go along",
        { request: { Abc: "1" }, answer: short({ ETag: '"a"', Vary: "Abc" }), from: "origin" },
        { after: 3, request: { Abc: "1" }, answer: confirmed({}), from: "confirmed", asked: { Abc: "1" } },
      ],
      [
        "a 304 that forbids storing is passed on and ends what was stored",
        { answer: short({ ETag: '"a"' }), from: "origin" },
        { after: 3, answer: confirmed({ "Cache-Control": "no-store" }), from: "confirmed" },
        { answer: cc("max-age=9"), from: "origin", asked: { "If-None-Match": null } },
      ],
      ...updated,
      ...left,
      [
        "HEAD with the same tag renews what is stored",
        { answer: short({ ETag: '"a"', A: "1" }), from: "origin" },
        { after: 3, method: "HEAD", answer: cc("max-age=60", { ETag: '"a"', A: "2" }), from: "passed", headers: { A: "2" } },
        { after: 3, from: "stored", text: "body", headers: { A: "2" } },
      ],
      [
        "HEAD with another tag ends it",
        { answer: short({ ETag: '"a"' }), from: "origin" },
        { after: 3, method: "HEAD", answer: cc("max-age=60", { ETag: '"b"' }), from: "passed" },
        { answer: cc("max-age=60"), from: "origin", asked: { "If-None-Match": null } },
      ],
      [
        "HEAD is answered from a stored GET",
        { answer: cc("max-age=60"), from: "origin" },
        { method: "HEAD", from: "stored", text: "", headers: { "Content-Length": "4" } },
      ],
    ],
  );
});

suite("what a client may ask of the cache", () => {
  const fresh = cc("max-age=1500");
  const asks = (name: string, answer: Answer, seconds: number, directive: string, from: "stored" | "origin"): Case => [
    name,
    { answer, from: "origin" },
    { after: seconds, request: { "Cache-Control": directive }, answer, from },
  ];
  conformance(
    () => world,
    [
      asks("no-cache", fresh, 1, "no-cache", "origin"),
      asks("max-age=0", fresh, 1, "max-age=0", "origin"),
      asks("max-age that is younger", fresh, 5, "max-age=3", "origin"),
      asks("max-age that is older", fresh, 5, "max-age=30", "stored"),
      asks("max-age with an age that came along", cc("max-age=3600", { Age: "1800" }), 0, "max-age=600", "origin"),
      asks("min-fresh that is too much", fresh, 0, "min-fresh=2000", "origin"),
      asks("min-fresh that is not", fresh, 0, "min-fresh=200", "stored"),
      asks("max-stale", cc("max-age=1"), 3, "max-stale=1000", "stored"),
      asks("max-stale that is not enough", cc("max-age=1"), 30, "max-stale=10", "origin"),
      asks("max-stale against must-revalidate", cc("max-age=1, must-revalidate"), 3, "max-stale", "origin"),
      asks("a reload of what is immutable", cc("max-age=60, immutable"), 3, "max-age=0", "stored"),
      ["Pragma does not count", { answer: fresh, from: "origin" }, { request: { Pragma: "no-cache" }, from: "stored" }],
      [
        "only-if-cached",
        { request: { "Cache-Control": "only-if-cached" }, from: "stored", status: 504 },
        { answer: fresh, from: "origin" },
        { request: { "Cache-Control": "only-if-cached" }, from: "stored", status: 200 },
      ],
      [
        "no-cache of something with a tag asks by it",
        { answer: cc("max-age=60", { ETag: '"a"' }), from: "origin" },
        { request: { "Cache-Control": "no-cache" }, answer: { onlyIfAsked: "if-none-match" }, from: "confirmed" },
      ],
    ],
  );
});

suite("invalidation", () => {
  const fresh = cc("max-age=9000");
  const unsafe = ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"];
  conformance(
    () => world,
    [
      ...unsafe.map((method): Case => [
        `${method} that succeeds ends the stored answer`,
        { answer: fresh, from: "origin" },
        { method, body: "x", from: "origin" },
        { answer: fresh, from: "origin" },
        { from: "stored" },
      ]),
      ...unsafe.map((method): Case => [
        `${method} that fails does not`,
        { answer: fresh, from: "origin" },
        { method, body: "x", answer: { status: 500 }, from: "origin" },
        { from: "stored" },
      ]),
      ...["GET", "HEAD", "OPTIONS"].map((method): Case => [
        `${method} does not`,
        { answer: fresh, from: "origin" },
        { method, from: method === "OPTIONS" ? "origin" : "stored" },
        { from: "stored" },
      ]),
      [
        "all variants are ended",
        { request: { Foo: "1" }, answer: cc("max-age=900", { Vary: "Foo" }), from: "origin" },
        { request: { Foo: "2" }, answer: cc("max-age=900", { Vary: "Foo" }), from: "origin" },
        { method: "POST", from: "origin" },
        { request: { Foo: "1" }, answer: cc("max-age=900", { Vary: "Foo" }), from: "origin" },
        { request: { Foo: "2" }, answer: cc("max-age=900", { Vary: "Foo" }), from: "origin" },
      ],
    ],
  );
});

suite("ranges", () => {
  const digits: Answer = { ...cc("max-age=60", { ETag: '"a"', A: "1" }), body: "0123456789A" };
  const part = (name: string, range: string, text: string, contentRange: string): Case => [
    name,
    { answer: digits, from: "origin" },
    {
      request: { Range: range },
      from: "stored",
      status: 206,
      text,
      headers: { "Content-Range": contentRange, A: "1", "Content-Length": String(text.length) },
    },
  ];
  conformance(
    () => world,
    [
      part("the beginning", "bytes=0-1", "01", "bytes 0-1/11"),
      part("the rest", "bytes=1-", "123456789A", "bytes 1-10/11"),
      part("the end", "bytes=-1", "A", "bytes 10-10/11"),
      [
        "one that is not there, several at once, one of another answer",
        { answer: digits, from: "origin" },
        { request: { Range: "bytes=11-" }, from: "stored", status: 416, headers: { "Content-Range": "bytes */11" } },
        { request: { Range: "bytes=0-1,3-4" }, from: "stored", status: 200, text: "0123456789A" },
        { request: { Range: "bytes=0-1", "If-Range": '"b"' }, from: "stored", status: 200, text: "0123456789A" },
        { request: { Range: "bytes=0-1", "If-Range": '"a"' }, from: "stored", status: 206, text: "01" },
      ],
      [
        "of what is not stored: the origin's part, which is not stored",
        {
          request: { Range: "bytes=0-1" },
          answer: { ...cc("max-age=60", { "Content-Range": "bytes 0-1/4" }), status: 206, body: "bo" },
          from: "origin",
          asked: { Range: "bytes=0-1" },
        },
        { answer: cc("max-age=60"), from: "origin" },
      ],
    ],
  );
});

suite("when the origin fails", () => {
  const dead: Answer = { breaks: true };
  const fails = (name: string, directives: string, failure: Answer, status: number, seconds = 3): Case => [
    name,
    { answer: { ...cc(directives), body: "old" }, from: "origin" },
    { after: seconds, answer: failure, from: "passed", status, ...(status === 200 && { text: "old" }) },
  ];
  conformance(
    () => world,
    [
      fails("a stale answer stands in", "max-age=2", dead, 200),
      fails("also for a 503", "max-age=2", { status: 503 }, 200),
      fails("but not for a 404", "max-age=2", { status: 404 }, 404),
      fails("as long as stale-if-error says", "max-age=2, stale-if-error=60", dead, 200),
      fails("and no longer", "max-age=2, stale-if-error=60", dead, 502 + 2, 70),
      ...["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"].map((directive) =>
        fails(`not with ${directive}`, `max-age=2, ${directive}`, dead, directive === "no-cache" ? 502 : 504),
      ),
      fails("and not after a 503 with must-revalidate", "max-age=2, must-revalidate", { status: 503 }, 503),
      [
        "without a stored answer: 502",
        { answer: dead, from: "passed", status: 502, headers: { "Content-Type": "application/problem+json" } },
      ],
    ],
  );
});

suite("fields for caches like this one", () => {
  const cdn = (value: string, more: Headers = {}): Answer => plain({ "CDN-Cache-Control": value, ...more });
  conformance(
    () => world,
    [
      twice("max-age", cdn("max-age=3600"), "stored"),
      twice("goes before Cache-Control", cdn("max-age=3600", { "Cache-Control": "no-store" }), "stored"),
      twice("before a longer one, too", cdn("max-age=1", { "Cache-Control": "max-age=3600" }), "origin"),
      twice("before Expires", cdn("max-age=0", { Expires: date(3_600) }), "origin"),
      twice("private", cdn("private", { "Cache-Control": "max-age=3600" }), "origin"),
      twice("no-cache", cdn("no-cache", { "Cache-Control": "max-age=3600" }), "origin"),
      twice("no-store", cdn("no-store", { "Cache-Control": "max-age=3600" }), "origin"),
      twice("one that is not well-formed counts for nothing", cdn("max-age=3600, &&&", { "Cache-Control": "no-store" }), "origin"),
      twice("and Cache-Control does then", cdn("max-age =1", { "Cache-Control": "max-age=3600" }), "stored"),
      twice("with an age", cdn("max-age=3600", { Age: "7200" }), "origin"),
      twice("Surrogate-Control, of old", plain({ "Surrogate-Control": "max-age=3600" }), "stored"),
      twice("Surrogate-Control for another", plain({ "Surrogate-Control": "max-age=3600;other" }), "origin"),
      twice(
        "Surrogate-Control for this one",
        plain({ "Surrogate-Control": "max-age=60;millrace", "Cache-Control": "no-store" }),
        "stored",
      ),
      ["it is passed on", { answer: cdn("foo"), from: "origin", headers: { "CDN-Cache-Control": "foo" } }],
    ],
  );
});
