import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { hashDependencies } from "../cache/index.ts";
import type { CdnAdapter, CdnDialect } from "./adapter.ts";
import { akamaiDialect } from "./adapters/akamai.ts";
import { signAws } from "./adapters/aws-signature.ts";
import { cloudflareDialect } from "./adapters/cloudflare.ts";
import { cloudFrontDialect } from "./adapters/cloudfront.ts";
import { edgeGridAuthorization } from "./adapters/edgegrid.ts";
import { fastlyDialect } from "./adapters/fastly.ts";
import { answerFields, groupsDialect } from "./answer-fields.ts";
import { cdnOverflowChannel } from "./channels.ts";
import { createCdn } from "./create-cdn.ts";
import { keysOf } from "./keys.ts";

const dialects = [fastlyDialect, cloudflareDialect, akamaiDialect, cloudFrontDialect(), groupsDialect];
const life = { seconds: 60 };
const some = (count: number) => keysOf("m", hashDependencies(Array.from({ length: count }, (_, i) => `row ${i}`)));

suite("keys", () => {
  test("are the hashes of what an answer depends on, in letters that every CDN takes", () => {
    const keys = some(100);
    assert.equal(new Set(keys).size, 100);
    for (const key of keys) assert.match(key, /^m[0-9a-z]{13}$/);
    assert.deepEqual(keysOf("m", Uint32Array.of(1, 0, 1, 0, 0xffffffff, 0xffffffff)), ["m0000000000001", "m3w5e11264sgsf"]);
  });
});

suite("an answer's fields", () => {
  test("name all of its keys in each dialect, and how long it is fresh there", () => {
    const keys = ["mall", "ma"];
    assert.deepEqual(answerFields([fastlyDialect], keys, life, ""), {
      "surrogate-key": "mall ma",
      "surrogate-control": "max-age=60",
    });
    assert.deepEqual(answerFields([cloudflareDialect], keys, { seconds: 60.9, staleWhileRevalidateSeconds: 30 }, "max-age=5"), {
      "cache-tag": "mall,ma",
      "cdn-cache-control": "max-age=60, stale-while-revalidate=30",
    });
    assert.deepEqual(answerFields([akamaiDialect], keys, life, ""), {
      "edge-cache-tag": "mall,ma",
      "cdn-cache-control": "max-age=60",
    });
    assert.deepEqual(answerFields([cloudFrontDialect("x-tags")], keys, life, "max-age=5, s-maxage=9, public"), {
      "x-tags": "mall,ma",
      "cache-control": "max-age=5, public, s-maxage=60",
    });
    assert.deepEqual(answerFields([groupsDialect], keys, life, ""), {
      "cache-groups": '"mall", "ma"',
      "cdn-cache-control": "max-age=60",
    });
  });

  test("are none for an answer that is for one alone", () => {
    for (const cacheControl of ["private", "max-age=60, private", "no-store", 'private="x"', "max-age=60; private"]) {
      assert.deepEqual(answerFields(dialects, ["mall"], life, cacheControl), {}, cacheControl);
    }
  });

  test("with more keys than a CDN reads say that it stores nothing, and name none", () => {
    for (const [dialect, most] of [
      [akamaiDialect, 128],
      [cloudFrontDialect(), 50],
      [cloudflareDialect, 1_000],
      [fastlyDialect, 1_092],
      [groupsDialect, 32],
    ] as const) {
      const within = answerFields([dialect], some(most), life, "max-age=5");
      assert.ok(dialect.field in within, dialect.field);
      const beyond = answerFields([dialect], some(most + 1), life, "max-age=5");
      assert.ok(!(dialect.field in beyond), dialect.field);
      if (dialect.control === "s-maxage") assert.equal(beyond["cache-control"], "max-age=5, s-maxage=0");
      else assert.equal(beyond[dialect.control], "no-store");
    }
  });

  test("that two CDNs read allow what both may", () => {
    const fields = answerFields([akamaiDialect, cloudflareDialect], some(200), life, "");
    assert.equal(fields["cdn-cache-control"], "no-store");
    assert.equal(answerFields([cloudflareDialect, akamaiDialect], some(200), life, "")["cdn-cache-control"], "no-store");
  });

  test("never name a part of the keys, nor more than the CDN reads", () => {
    fc.assert(
      fc.property(fc.nat(1_500), fc.constantFrom(...dialects), (count, dialect: CdnDialect) => {
        const keys = some(count);
        const text = answerFields([dialect], keys, life, "")[dialect.field];
        if (text === undefined) return;
        assert.equal(text.split(dialect.separator).length, Math.max(1, keys.length));
        assert.ok(text.length <= dialect.mostBytes && keys.length <= dialect.mostKeys);
      }),
      { numRuns: 60 },
    );
  });
});

suite("the front", () => {
  const adapter = (purges: (readonly string[])[]): CdnAdapter => ({
    name: "test",
    dialect: akamaiDialect,
    mostKeys: 10,
    purge: async (keys) => void purges.push(keys),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  });

  test("purges by the keys that it put on answers", async () => {
    const purges: (readonly string[])[] = [];
    await using cdn = createCdn({ adapters: [adapter(purges)], bound: "0s", gather: "0s", prefix: "x1", groups: true });
    const fields = cdn.answerFields(["public.reports:city_id=5"], life, "max-age=1");
    const [all, key] = fields["edge-cache-tag"]!.split(",");
    assert.equal(all, "x1all");
    assert.equal(fields["cache-groups"], `"x1all", "${key}"`);
    assert.equal(cdn.groupInvalidation(["public.reports:city_id=5"]), `"${key}"`);
    assert.equal(cdn.groupInvalidation(Array.from({ length: 33 }, (_, i) => `row ${i}`)), '"x1all"');
    cdn.purge(["public.reports:city_id=5"]);
    await cdn.idle();
    assert.deepEqual(purges, [[key], [key]]);
    cdn.purgeAll();
    await cdn.idle();
    assert.deepEqual(purges.slice(2), [[all], [all]]);
    assert.equal(cdn.stats()[0]!.purges, 4);
  });

  test("says when an answer has too many keys", async () => {
    await using cdn = createCdn({ adapters: [adapter([])] });
    const heard: unknown[] = [];
    using _subscription = cdnOverflowChannel.subscribe((message) => heard.push(message));
    cdn.answerFields(
      Array.from({ length: 200 }, (_, i) => `row ${i}`),
      life,
    );
    assert.deepEqual(heard, [{ cdn: "test", keys: 201, mostKeys: 128 }]);
  });

  test("refuses a prefix that would not pass everywhere", () => {
    for (const prefix of ["", "A", "a-b", "ninechars"]) {
      assert.throws(() => createCdn({ adapters: [], prefix }), { code: "MILLRACE_OPTION_INVALID" });
    }
  });
});

suite("signatures", () => {
  test("of AWS are those of its documentation", () => {
    const { authorization } = signAws(
      { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
      {
        method: "GET",
        path: "/",
        query: "Action=ListUsers&Version=2010-05-08",
        headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8", host: "iam.amazonaws.com" },
        body: "",
        region: "us-east-1",
        service: "iam",
        nowMs: Date.UTC(2015, 7, 30, 12, 36, 0),
      },
    );
    assert.equal(
      authorization,
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    );
  });

  test("of Akamai are those of its client, akamai-edgegrid 4.0.4", () => {
    const host = "akab-host.luna.akamaiapis.net";
    const nonce = "c0ffee00-0000-4000-8000-000000000000";
    const authorization = edgeGridAuthorization(
      { host, clientToken: "client-token", clientSecret: "client-secret", accessToken: "access-token" },
      {
        method: "POST",
        scheme: "https",
        host,
        path: "/ccu/v3/invalidate/tag/production",
        body: '{"objects":["a","b"]}',
        nowMs: Date.UTC(2026, 0, 2, 3, 4, 5),
        nonce,
      },
    );
    assert.equal(
      authorization,
      `EG1-HMAC-SHA256 client_token=client-token;access_token=access-token;timestamp=20260102T03:04:05+0000;nonce=${nonce};` +
        "signature=cgLcGlNoxLmtoITbjsA6s7ly8XSjfSgVZ0zhAKqJ+aE=",
    );
  });
});
