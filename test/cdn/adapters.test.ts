// The four adapters against servers that answer as the CDNs' APIs do, and keep what they were told.

import assert from "node:assert/strict";
import { type IncomingHttpHeaders, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { type CdnAdapter, akamai, cloudFront, cloudflare, createCdn, fastly } from "../../src/cdn/index.ts";

interface Told {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Api extends AsyncDisposable {
  readonly url: string;
  readonly told: readonly Told[];
  /** What it answers next; then 200 and `{"success":true}` again. */
  answer(status: number, body: string): void;
}

async function createApi(): Promise<Api> {
  const told: Told[] = [];
  const answers: [number, string][] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      told.push({ method, path: url, headers, body: Buffer.concat(chunks).toString() });
      const [status, body] = answers.shift() ?? [200, '{"success": true, "errors": []}'];
      response.writeHead(status, { "content-type": "application/json" }).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    told,
    answer: (status, body) => void answers.push([status, body]),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const upstream = { allowPrivate: true } as const;
const { signal } = new AbortController();
const credentials = { accessKeyId: "AKID", secretAccessKey: "secret", sessionToken: "session" };

const adapters: readonly [name: string, make: (api: string) => CdnAdapter, check: (told: Told) => void][] = [
  [
    "fastly",
    (api) => fastly({ service: "SU1Z0isxPaozGVKXdv0eY", token: "secret-token", soft: true, api, upstream }),
    ({ path, headers, body }) => {
      assert.equal(path, "/service/SU1Z0isxPaozGVKXdv0eY/purge");
      assert.equal(headers["fastly-key"], "secret-token");
      assert.equal(headers["fastly-soft-purge"], "1");
      assert.deepEqual(JSON.parse(body), { surrogate_keys: ["ma", "mb"] });
    },
  ],
  [
    "cloudflare",
    (api) => cloudflare({ zone: "023e105f4ecef8ad9ca31a8372d0c353", token: "secret-token", api: `${api}/client/v4`, upstream }),
    ({ path, headers, body }) => {
      assert.equal(path, "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache");
      assert.equal(headers.authorization, "Bearer secret-token");
      assert.deepEqual(JSON.parse(body), { tags: ["ma", "mb"] });
    },
  ],
  [
    "akamai",
    (api) =>
      akamai({ host: "akab.example", clientToken: "c", clientSecret: "s", accessToken: "a", network: "staging", api, upstream }),
    ({ path, headers, body }) => {
      assert.equal(path, "/ccu/v3/invalidate/tag/staging");
      assert.match(
        String(headers.authorization),
        /^EG1-HMAC-SHA256 client_token=c;access_token=a;timestamp=\d{8}T[\d:]{8}\+0000;nonce=[\w-]{36};signature=[\w+/]{43}=$/,
      );
      assert.deepEqual(JSON.parse(body), { objects: ["ma", "mb"] });
    },
  ],
  [
    "cloudfront",
    (api) => cloudFront({ distribution: "EDFDVBD632BHDS5", credentials: async () => credentials, api, upstream }),
    ({ path, headers, body }) => {
      assert.equal(path, "/2020-05-31/distribution/EDFDVBD632BHDS5/invalidation");
      assert.match(
        String(headers.authorization),
        /^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/us-east-1\/cloudfront\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=[0-9a-f]{64}$/,
      );
      assert.match(body, /<Items><Path>#ma<\/Path><Path>#mb<\/Path><\/Items><Quantity>2<\/Quantity>/);
      assert.match(body, /<CallerReference>[\w-]{36}<\/CallerReference>/);
    },
  ],
];

for (const [name, make, check] of adapters) {
  suite(`the adapter for ${name}`, () => {
    test("orders a purge as its API wants it", async () => {
      await using api = await createApi();
      await using adapter = make(api.url);
      assert.equal(adapter.name, name);
      await adapter.purge(["ma", "mb"], signal);
      assert.equal(api.told.length, 1);
      assert.equal(api.told[0]!.method, "POST");
      check(api.told[0]!);
    });

    test("says what the API said when it refuses, without the credentials", async () => {
      await using api = await createApi();
      await using adapter = make(api.url);
      api.answer(403, '{"msg": "not\n allowed"}');
      await assert.rejects(adapter.purge(["ma"], signal), (error: Error & { code?: string }) => {
        assert.equal(error.code, "MILLRACE_CDN_PURGE_REFUSED");
        assert.equal(error.message, `${name} did not take a purge: 403 ({"msg": "not allowed"}).`);
        return true;
      });
      api.answer(503, "busy");
      await assert.rejects(adapter.purge(["ma"], signal));
      await adapter.purge(["ma"], signal);
    });
  });
}

test("a success that Cloudflare's document denies is none", async () => {
  await using api = await createApi();
  await using adapter = cloudflare({ zone: "z", token: "t", api: api.url, upstream });
  api.answer(200, '{"success":false,"errors":[{"code":1134}]}');
  await assert.rejects(adapter.purge(["ma"], signal), /did not take a purge: 200 \(\{"success":false/);
});

test("a purge of more keys than an API takes goes in several, and again after the bound", async () => {
  await using api = await createApi();
  // #region create
  await using cdn = createCdn({
    adapters: [cloudflare({ zone: "z", token: "t", api: api.url, upstream })],
    bound: "100ms",
  });
  const fields = cdn.answerFields(["public.reports:city_id=5"], { seconds: 300 }, "max-age=5");
  // #endregion
  assert.equal(fields["cdn-cache-control"], "max-age=300");
  cdn.purge(Array.from({ length: 250 }, (_, i) => `public.reports:city_id=${i}`));
  await cdn.idle();
  const sizes = api.told.map(({ body }) => (JSON.parse(body) as { readonly tags: readonly string[] }).tags.length);
  assert.deepEqual(sizes, [100, 100, 50, 100, 100, 50]);
  assert.ok(api.told[0]!.body.includes(fields["cache-tag"]!.split(",")[1]!));
});
