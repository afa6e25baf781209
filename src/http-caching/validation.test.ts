import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Fields, endToEnd } from "./fields.ts";
import { formatHttpDate } from "./http-date.ts";
import { cacheGroups, formatGroups, invalidatedGroups, invalidatedUrls } from "./invalidation.ts";
import { rangeHolds, rangeOf } from "./ranges.ts";
import { conditional, freshened, isNotModified, isSameByHead, notModifiedFields } from "./validation.ts";

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const at = (seconds: number) => formatHttpDate(now + seconds * 1_000);
const fields = (record: Readonly<Record<string, string | readonly string[]>>) => Fields.from(record);
const flat = ({ flat: list }: Fields) => list.join("|");

suite("fields", () => {
  test("that belong to a hop do not go beyond it, nor those that Connection names", () => {
    const came = fields({
      Connection: ["a, close", "B"],
      "Keep-Alive": "x",
      "Proxy-Authenticate": "x",
      TE: "x",
      "Transfer-Encoding": "chunked",
      Upgrade: "x",
      A: "1",
      b: "2",
      c: "3",
    });
    assert.equal(flat(endToEnd(came)), "c|3");
  });
});

suite("asking whether a stored answer is right", () => {
  test("takes its validators in the place of the client's, and asks for all of it", () => {
    const client = fields({ "If-None-Match": '"x"', Range: "bytes=0-1", "If-Range": '"x"', Foo: "1" });
    assert.equal(flat(conditional(client, fields({ ETag: 'W/"a"' }))!), 'Foo|1|If-None-Match|W/"a"');
    const both = conditional(client, fields({ ETag: '"a"', "Last-Modified": at(-5) }))!;
    assert.equal(flat(both), `Foo|1|If-None-Match|"a"|If-Modified-Since|${at(-5)}`);
    assert.equal(conditional(client, fields({ Date: at(0) })), undefined);
  });
});

suite("a conditional request", () => {
  const is304 = (request: Readonly<Record<string, string>>, stored: Readonly<Record<string, string>>, status = 200) =>
    isNotModified(fields(request), status, fields(stored), now);

  test("by tag is compared weakly, with each of a list", () => {
    for (const list of ['"a"', 'W/"a"', '"x", "a"', '"a","x"', "*", '"x" , W/"a", "y"']) {
      assert.equal(is304({ "If-None-Match": list }, { ETag: '"a"' }), true, list);
      assert.equal(is304({ "If-None-Match": list }, { ETag: 'W/"a"' }), true, list);
    }
    for (const list of ['"b"', "a", "", '"A"', '"a']) assert.equal(is304({ "If-None-Match": list }, { ETag: '"a"' }), false, list);
    assert.equal(is304({ "If-None-Match": '"a"' }, {}), false);
  });

  test("by date only without a tag", () => {
    const stored = { ETag: '"a"', "Last-Modified": at(-50) };
    assert.equal(is304({ "If-Modified-Since": at(-50) }, stored), true);
    assert.equal(is304({ "If-Modified-Since": at(-40) }, stored), true);
    assert.equal(is304({ "If-Modified-Since": at(-60) }, stored), false);
    assert.equal(is304({ "If-Modified-Since": "yesterday" }, stored), false);
    assert.equal(is304({ "If-None-Match": '"b"', "If-Modified-Since": at(0) }, stored), false);
    assert.equal(is304({ "If-None-Match": '"a"', "If-Modified-Since": at(-999) }, stored), true);
    // Without Last-Modified it counts as changed when it was made.
    assert.equal(is304({ "If-Modified-Since": at(-1) }, { Date: at(-2) }), true);
    assert.equal(is304({ "If-Modified-Since": at(-3) }, { Date: at(-2) }), false);
  });

  test("is for answers of success", () => assert.equal(is304({ "If-None-Match": "*" }, { ETag: '"a"' }, 404), false));

  test("is answered with what a 304 says", () => {
    const stored = fields({ ETag: '"a"', "Content-Length": "5", Vary: "x", "X-A": "1", Date: at(0) });
    assert.deepEqual([...notModifiedFields(stored).names()], ["etag", "vary", "date"]);
  });
});

suite("what a 304 brings", () => {
  test("replaces what is stored, but for what describes the body", () => {
    const stored = fields({ ETag: '"a"', "Content-Length": "5", "Content-Encoding": "br", "X-A": ["1", "2"], "X-B": "1" });
    const update = fields({
      etag: '"b"',
      "content-length": "9",
      "content-encoding": "gzip",
      "x-a": "3",
      "X-C": "4",
      Connection: "x-d",
      "X-D": "5",
    });
    assert.equal(flat(freshened(stored, update)), 'ETag|"a"|Content-Length|5|Content-Encoding|br|X-B|1|x-a|3|X-C|4');
  });

  test("and an answer to HEAD is about the same answer when nothing it says contradicts", () => {
    const stored = fields({ ETag: '"a"', "Content-Length": "5" });
    assert.equal(isSameByHead(stored, fields({ "X-A": "1" })), true);
    assert.equal(isSameByHead(stored, fields({ ETag: '"a"', "Content-Length": "5" })), true);
    assert.equal(isSameByHead(stored, fields({ ETag: '"b"' })), false);
    assert.equal(isSameByHead(stored, fields({ "Content-Length": "6" })), false);
    assert.equal(isSameByHead(stored, fields({ "Last-Modified": at(0) })), false);
  });
});

suite("what a change makes worthless", () => {
  const urls = (method: string, status: number, record: Readonly<Record<string, string>> = {}, same: readonly string[] = []) =>
    invalidatedUrls({ method, url: "http://a.example/x?q=1", fields: fields({}) }, status, fields(record), same);

  test("is the URL and what Location and Content-Location name, on the same origin", () => {
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "ANYTHING"]) {
      assert.deepEqual(urls(method, 200), ["http://a.example/x?q=1"], method);
    }
    const record = { Location: "/y", "Content-Location": "http://a.example/z?r=2" };
    assert.deepEqual(urls("POST", 303, record), ["http://a.example/x?q=1", "http://a.example/y", "http://a.example/z?r=2"]);
    assert.deepEqual(urls("POST", 201, { Location: "http://b.example/y" }), ["http://a.example/x?q=1"]);
    assert.deepEqual(urls("POST", 201, { Location: "http://b.example/y" }, ["http://b.example"]), [
      "http://a.example/x?q=1",
      "http://a.example/y",
    ]);
    assert.deepEqual(urls("POST", 201, { Location: "http://[" }), ["http://a.example/x?q=1"]);
  });

  test("is nothing when it failed or was safe", () => {
    for (const status of [100, 400, 404, 500, 503]) assert.deepEqual(urls("POST", status), [], String(status));
    for (const method of ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"]) assert.deepEqual(urls(method, 200), [], method);
  });

  test("is the groups that it names, which only an unsafe request does", () => {
    const record = fields({ "Cache-Group-Invalidation": '"a", "b";x=1', "Cache-Groups": '"c"' });
    assert.deepEqual(invalidatedGroups("POST", record), ["a", "b"]);
    assert.deepEqual(invalidatedGroups("GET", record), []);
    assert.deepEqual(cacheGroups(record), ["c"]);
    for (const value of ["a", '"a", b', '("a")', '"a",', '"a" "b"'])
      assert.deepEqual(cacheGroups(fields({ "Cache-Groups": value })), []);
    const many = Array.from({ length: 32 }, (_, i) => String(i).padStart(32, "x"));
    assert.deepEqual(cacheGroups(fields({ "Cache-Groups": formatGroups(many) })), many);
  });
});

suite("a range", () => {
  test("of what is there", () => {
    for (const [header, expected] of [
      ["bytes=0-1", { start: 0, end: 1 }],
      ["bytes=1-", { start: 1, end: 10 }],
      ["bytes=-1", { start: 10, end: 10 }],
      ["bytes=-99", { start: 0, end: 10 }],
      ["bytes=5-99", { start: 5, end: 10 }],
      ["bytes=11-", "unsatisfiable"],
      ["bytes=-0", "unsatisfiable"],
      ["bytes=2-1", undefined],
      ["bytes=-", undefined],
      ["bytes=0-1,3-4", undefined],
      ["lines=0-1", undefined],
    ] as const) {
      assert.deepEqual(rangeOf(header, 11), expected, header);
    }
  });

  test("holds while the answer is the same", () => {
    const stored = fields({ ETag: '"a"', "Last-Modified": at(-5) });
    const holds = (condition: string) => rangeHolds(fields({ "If-Range": condition }), stored, now);
    assert.equal(holds('"a"'), true);
    assert.equal(holds('W/"a"'), false);
    assert.equal(holds('"b"'), false);
    assert.equal(holds(at(-5)), true);
    assert.equal(holds(at(-4)), false);
    assert.equal(rangeHolds(fields({}), stored, now), true);
  });
});
