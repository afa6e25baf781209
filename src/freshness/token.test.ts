import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { hashDependencies } from "../cache/index.ts";
import { maxTokenDependencies, maxTokenLength, readToken, tokenKey, writeToken } from "./token.ts";

const key = tokenKey(Buffer.from("a secret that all processes share"));
const halves = fc
  .array(fc.nat({ max: 2 ** 32 - 1 }), { maxLength: 40 })
  .map((all) => Uint32Array.from(all.length % 2 ? all.slice(1) : all));

suite("a freshness token", () => {
  test("says what it was made of", () => {
    fc.assert(
      fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), halves, (upTo, dependencies) => {
        const token = writeToken({ upTo, dependencies }, key);
        assert.deepEqual(readToken(token, key), { upTo, dependencies });
        assert.ok(token.length <= maxTokenLength);
      }),
    );
  });

  test("of more tables than fit into a header demands everything", () => {
    const most = hashDependencies(Array.from({ length: maxTokenDependencies }, (_, i) => `t${i}`));
    assert.equal(readToken(writeToken({ upTo: 1, dependencies: most }, key), key)!.dependencies.length, most.length);
    const more = hashDependencies(Array.from({ length: maxTokenDependencies + 1 }, (_, i) => `t${i}`));
    const { dependencies } = readToken(writeToken({ upTo: 1, dependencies: more }, key), key)!;
    assert.equal(dependencies.length, 0);
  });

  test("is worth nothing when a byte is changed, added or missing, or when another key has signed it", () => {
    const token = writeToken({ upTo: 77, dependencies: hashDependencies(["public.reports"]) }, key);
    const bytes = Buffer.from(token, "base64url");
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes);
      changed[i]! ^= 1 << (i % 8);
      assert.equal(readToken(changed.toString("base64url"), key), undefined);
      assert.equal(readToken(bytes.subarray(0, i).toString("base64url"), key), undefined);
    }
    assert.equal(readToken(Buffer.concat([bytes, Buffer.alloc(8)]).toString("base64url"), key), undefined);
    assert.equal(readToken(token, tokenKey(Buffer.from("another"))), undefined);
  });

  test("may be anything that a stranger sends", () => {
    for (const text of ["", "a", "=", "ä", " ", "x".repeat(maxTokenLength + 1), "\0"])
      assert.equal(readToken(text, key), undefined);
    fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => assert.equal(readToken(text, key), undefined)));
  });
});
