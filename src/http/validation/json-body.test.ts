import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../../core/index.ts";
import { parseJsonBody } from "./json-body.ts";

const refusal = (text: string | Buffer): MillraceError => {
  try {
    parseJsonBody(Buffer.from(text));
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
  return assert.fail("It was accepted.");
};
const field = (error: MillraceError): unknown => (error.details["errors"] as { field: string }[])[0]!.field;

test("JSON without surprises is read as JSON.parse reads it", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), (text) => {
      fc.pre(!text.includes("\\u") && !text.includes("__proto__"));
      assert.deepEqual(parseJsonBody(Buffer.from(text)), JSON.parse(text));
    }),
  );
});

test("malformed JSON is refused without quoting what was sent", () => {
  for (const text of ["{", '{"a":secret}', "[1,]", "   ", "'a'"]) {
    const error = refusal(text);
    assert.equal(error.code, "MILLRACE_HTTP_BODY_INVALID");
    assert.doesNotMatch(error.message, /secret/);
  }
});

test("bytes that are no UTF-8 are refused", () => {
  assert.equal(refusal(Buffer.from([0x22, 0xff, 0x22])).code, "MILLRACE_HTTP_BODY_INVALID");
});

test("NUL and half surrogates are refused by the field's path, in values and in names", () => {
  assert.equal(field(refusal('{"a":{"tags":["x","\\u0000"]}}')), "a.tags.1");
  assert.equal(field(refusal('{"a":"\\ud800"}')), "a");
  assert.equal(refusal('{"a\\u0000b":1}').code, "MILLRACE_HTTP_REQUEST_INVALID");
  assert.deepEqual(parseJsonBody(Buffer.from('{"a":"\\ud83d\\ude00"}')), { a: "😀" });
});

test("__proto__ is refused wherever it stands and however it is written", () => {
  assert.equal(field(refusal('{"a":[{"__proto__":{"admin":true}}]}')), "a.0.__proto__");
  assert.equal(field(refusal('{"\\u005f_proto__":{}}')), "__proto__");
});

test("nesting is bounded, so nothing that follows can run out of stack", () => {
  assert.match(refusal("[".repeat(100_000) + "]".repeat(100_000)).message, /nested/);
  assert.ok(parseJsonBody(Buffer.from("[".repeat(64) + "]".repeat(64))));
});
