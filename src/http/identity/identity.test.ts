import assert from "node:assert/strict";
import { test } from "node:test";
import { hashPassword, verifyPassword } from "./password.ts";
import { createToken, hashToken, verifyToken } from "./token.ts";

test("a password verifies against its own hash only, and the same password never hashes twice to the same", async () => {
  const [first, second] = await Promise.all([hashPassword("correct horse"), hashPassword("correct horse")]);
  assert.match(first, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.notEqual(first, second);
  assert.equal(await verifyPassword("correct horse", first), true);
  assert.equal(await verifyPassword("correct horsf", first), false);
});

test("a hash that the reference implementation wrote verifies", async () => {
  // From the tests of phc-winner-argon2 (src/test.c): "password", "somesalt", 64 MiB, 2 passes.
  const stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
  assert.equal(await verifyPassword("password", stored), true);
  assert.equal(await verifyPassword("Password", stored), false);
});

test("the same characters in another Unicode composition are the same password", async () => {
  const stored = await hashPassword("p\u00e4ssword");
  assert.equal(await verifyPassword("pa\u0308ssword", stored), true);
});

test("an account that does not exist takes the time of a verification and is false", async () => {
  const measure = async (work: () => Promise<unknown>): Promise<number> => {
    const startedMs = performance.now();
    await work();
    return performance.now() - startedMs;
  };
  const stored = await hashPassword("x");
  const times = { known: Infinity, unknown: Infinity };
  for (let i = 0; i < 5; i++) {
    times.known = Math.min(times.known, await measure(() => verifyPassword("wrong", stored)));
    times.unknown = Math.min(times.unknown, await measure(() => verifyPassword("wrong", undefined)));
  }
  assert.equal(await verifyPassword("", undefined), false);
  assert.ok(times.unknown > times.known / 3, `${times.unknown} ms against ${times.known} ms`);
});

test("a stored string that is not such a hash, or asks for absurd memory, is an error and not a false", async () => {
  for (const stored of [
    "",
    "plain",
    "$2b$10$abc",
    "$argon2id$v=19$m=9999999,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
  ]) {
    await assert.rejects(verifyPassword("x", stored), { code: "MILLRACE_HTTP_PASSWORD_HASH_INVALID" });
  }
});

test("beyond a hundred waiting passwords the next is refused at once", async () => {
  const cheap = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  const work = Array.from({ length: 110 }, () =>
    verifyPassword("x", cheap).then(
      () => "done",
      (error: { code: string }) => error.code,
    ),
  );
  const results = await Promise.all(work);
  assert.equal(results.filter((result) => result === "MILLRACE_HTTP_PASSWORD_BUSY").length, 8);
  assert.equal(results.filter((result) => result === "done").length, 102);
});

test("tokens are long, different, and stored as hashes that give nothing away", () => {
  const token = createToken();
  assert.match(token, /^[A-Za-z0-9_-]{43}$/);
  assert.notEqual(token, createToken());
  const hash = hashToken(token);
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.equal(verifyToken(token, hash), true);
  assert.equal(verifyToken(createToken(), hash), false);
  assert.equal(verifyToken(token, "abc"), false);
});
