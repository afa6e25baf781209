import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isCompressible, negotiateCoding } from "./negotiate.ts";

test("without the header nothing is encoded", () => {
  assert.deepEqual(negotiateCoding(undefined), { coding: "identity", accepted: ["identity"], identityRefused: false });
});

test("the server's preference decides between codings that the client likes equally", () => {
  assert.equal(negotiateCoding("gzip, deflate, br, zstd").coding, "zstd");
  assert.equal(negotiateCoding("gzip, br").coding, "br");
  assert.equal(negotiateCoding("gzip").coding, "gzip");
  assert.equal(negotiateCoding("x-gzip").coding, "gzip");
  assert.equal(negotiateCoding("GZIP").coding, "gzip");
  assert.equal(negotiateCoding("deflate").coding, "identity");
});

test("the client's q-values come first", () => {
  assert.equal(negotiateCoding("zstd;q=0.1, br;q=0.2, gzip;q=0.9").coding, "gzip");
  assert.equal(negotiateCoding("gzip;q=0.5, identity").coding, "identity");
  assert.equal(negotiateCoding("zstd;q=0, br;q=0, *").coding, "gzip");
});

test("a refused identity is noticed, and nothing acceptable means a plain answer", () => {
  assert.deepEqual(negotiateCoding("gzip, identity;q=0"), { coding: "gzip", accepted: ["gzip"], identityRefused: true });
  assert.deepEqual(negotiateCoding("br, *;q=0"), { coding: "br", accepted: ["br"], identityRefused: true });
  assert.deepEqual(negotiateCoding("*;q=0"), { coding: "identity", accepted: ["identity"], identityRefused: false });
});

test("whatever the header says, a coding with q=0 is not chosen and none with a lower q than another", () => {
  const codings = ["zstd", "br", "gzip", "identity"] as const;
  const weight = fc.constantFrom("0", "0.001", "0.25", "0.5", "0.999", "1");
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.constantFrom(...codings), weight), { minLength: 1, selector: ([coding]) => coding }),
      (offers) => {
        const { coding } = negotiateCoding(offers.map(([name, q]) => `${name};q=${q}`).join(", "));
        const given = new Map<string, number>(offers.map(([name, q]) => [name, Number(q)]));
        const chosen = given.get(coding);
        if ([...given.values()].every((q) => q === 0)) return coding === "identity";
        if (chosen === undefined) return coding === "identity"; // not named, so acceptable as a last resort
        return chosen > 0 && codings.every((other) => (given.get(other) ?? 0) <= chosen);
      },
    ),
  );
});

test("a flood of different headers keeps being answered", () => {
  for (let i = 0; i < 2_000; i++) assert.equal(negotiateCoding(`gzip, x-${i}`).coding, "gzip");
});

test("text, JSON and their relatives shrink; pictures and event streams are left alone", () => {
  for (const type of [
    "application/json; charset=utf-8",
    "application/problem+json",
    "application/x-ndjson",
    "text/csv",
    "text/html; charset=utf-8",
    "image/svg+xml",
  ]) {
    assert.equal(isCompressible(type), true, type);
  }
  for (const type of [
    "image/png",
    "application/zip",
    "application/octet-stream",
    "text/event-stream",
    "video/mp4",
    "application/jsonnet-image",
  ]) {
    assert.equal(isCompressible(type), false, type);
  }
});
