import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { type Coding, type Negotiated, negotiateCoding } from "../compression/negotiate.ts";
import { type Variant, type VariantName, Variants, codingOf } from "./variants.ts";

const decoders: Readonly<Record<Coding, (bytes: Buffer) => Buffer>> = {
  identity: (bytes) => bytes,
  zstd: (bytes) => zstdDecompressSync(bytes),
  br: (bytes) => brotliDecompressSync(bytes),
  gzip: (bytes) => gunzipSync(bytes),
};

const decoded = ({ name, body }: Variant): Buffer => decoders[codingOf(name)](body);
const text = Buffer.from("Millrace grinds slowly, but exceedingly small. ".repeat(100));
const of = (body: Buffer, compressible = true): Variants => new Variants(body, '"tag"', compressible);

/** Waits until a variant stands that nobody waits for. */
async function standing(variants: Variants, name: VariantName): Promise<Variant> {
  for (let i = 0; i < 3_000; i++) {
    const found = variants.get(name);
    if (found) return found;
    await pause(10);
  }
  throw new Error(`${name} does not stand after 30 s.`);
}

test("the first is answered with the body as it is, the second too, and whoever comes when it stands gets the encoded one", async () => {
  for (const [acceptEncoding, coding] of [
    ["gzip", "gzip"],
    ["br", "br"],
    ["gzip, deflate, br, zstd", "zstd"],
    ["zstd;q=0.5, br;q=0.9", "br"],
  ] as const) {
    const variants = of(text);
    const negotiated = negotiateCoding(acceptEncoding);
    assert.equal(variants.now(negotiated, false)?.name, "identity");
    assert.deepEqual(variants.encoded, [], "nobody has asked again");
    assert.equal(variants.now(negotiated, true)?.name, "identity");
    const made = await standing(variants, coding);
    assert.equal(variants.now(negotiated, true), made);
    assert.deepEqual(decoded(made), text);
    assert.equal(made.etag, `"tag-${coding}"`);
  }
});

test("until the best one stands, another that stands and is accepted is sent", async () => {
  const variants = of(text);
  const gzip = await variants.made(negotiateCoding("gzip"));
  assert.equal(variants.now(negotiateCoding("gzip, br"), false), gzip);
  assert.equal(variants.now(negotiateCoding("br"), false)?.name, "identity");
  assert.equal(variants.now(negotiateCoding("zstd, gzip, identity;q=0"), false), gzip);
  assert.equal(variants.now(negotiateCoding("zstd, identity;q=0"), false), undefined, "it has to be made");
  assert.equal((await variants.made(negotiateCoding("zstd, identity;q=0"))).name, "zstd");
});

test("whatever a client accepts, it gets a form that it accepts, and it decodes to the body", async () => {
  const weight = fc.constantFrom("", ";q=0", ";q=0.3", ";q=1");
  const accept = fc.uniqueArray(fc.tuple(fc.constantFrom("gzip", "br", "zstd", "identity", "*", "x"), weight), {
    selector: ([name]) => name,
  });
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 3_000 }),
    fc.nat(200).map((n) => Buffer.from("Mill".repeat(n * 10))),
  );
  await fc.assert(
    fc.asyncProperty(body, fc.boolean(), fc.array(accept, { minLength: 1, maxLength: 4 }), async (bytes, compressible, clients) => {
      const variants = of(Buffer.from(bytes), compressible);
      for (const client of clients) {
        const header = client.map(([name, q]) => name + q).join(", ");
        const negotiated = negotiateCoding(header);
        for (const variant of [
          variants.now(negotiated, true) ?? (await variants.made(negotiated)),
          await variants.made(negotiated),
          await variants.once(negotiated),
        ]) {
          assert.ok(
            !compressible || bytes.length === 0 || negotiated.accepted.includes(codingOf(variant.name)),
            `${header}: ${variant.name}`,
          );
          assert.deepEqual(decoded(variant), Buffer.from(bytes));
        }
      }
      const taken = variants.encoded.reduce((sum, each) => sum + each.body.length, 0);
      assert.ok(taken <= variants.room, "no more than the entry was counted with");
    }),
    { numRuns: 150 },
  );
});

test("large bodies are waited for, so that nobody gets 100 KB as they are", async () => {
  const variants = of(Buffer.concat(Array.from({ length: 30 }, () => text)));
  const negotiated = negotiateCoding("gzip");
  assert.equal(variants.now(negotiated, true), undefined);
  const [one, two] = await Promise.all([variants.made(negotiated), variants.made(negotiated)]);
  assert.equal(one, two, "made once");
  assert.equal(variants.now(negotiated, false), one);
});

test("what does not shrink is sent as it is, and not tried again and again", async () => {
  const random = Buffer.from(Array.from({ length: 3_000 }, (_, i) => (i * i * 7_919) % 251));
  const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(random.length)));
  const variants = of(noise);
  const made = await variants.made(negotiateCoding("br"));
  assert.deepEqual(decoded(made), noise);
  assert.equal(variants.get("br"), undefined);
  assert.equal(variants.now(negotiateCoding("br"), true)?.name, "identity");
});

test("brotli that many ask for is made better, with a tag of its own, and clients keep what they have", async () => {
  const list = Array.from({ length: 200 }, (_, id) => ({ id, name: `City ${(id * 7_919) % 997}`, population: id * id * 31 }));
  const json = Buffer.from(JSON.stringify(list));
  const variants = of(json);
  const negotiated = negotiateCoding("br");
  const first = await variants.made(negotiated);
  for (let i = 0; i < 600; i++) assert.equal(codingOf(variants.now(negotiated, true)!.name), "br");
  const best = await standing(variants, "br-11");
  assert.ok(best.body.length < first.body.length);
  assert.notEqual(best.etag, first.etag);
  assert.equal(variants.now(negotiated, true), best);
  assert.equal(variants.get("br"), undefined, "takes no room any more");
  assert.deepEqual(decoded(best), json);
  for (const etag of [first.etag!, best.etag!]) assert.equal(variants.known(negotiated, etag), etag);
});

test("a tag is known if the client takes that form now", () => {
  const variants = of(text);
  const known = (accept: string, ifNoneMatch: string) => variants.known(negotiateCoding(accept), ifNoneMatch);
  assert.equal(known("gzip", '"tag-gzip"'), '"tag-gzip"', "whether it stands or not");
  assert.equal(known("gzip", '"tag"'), '"tag"');
  assert.equal(known("gzip", 'W/"tag-gzip"'), '"tag-gzip"', "compared weakly");
  assert.equal(known("gzip", '"other", "tag-gzip"'), '"tag-gzip"');
  assert.equal(known("gzip", '"tag-br"'), undefined);
  assert.equal(known("gzip, identity;q=0", '"tag"'), undefined);
  assert.equal(known("gzip", "*"), '"tag-gzip"');
  assert.equal(of(text, false).known(negotiateCoding("gzip"), '"tag-gzip"'), undefined, "never encoded");
  const plain: Negotiated = negotiateCoding(undefined);
  assert.equal(new Variants(Buffer.alloc(0), undefined, false).known(plain, "*"), undefined);
});

test("a variant by its exact tag", async () => {
  const variants = of(text);
  const gzip = await variants.made(negotiateCoding("gzip"));
  assert.equal(variants.byEtag('"tag-gzip"', negotiateCoding("gzip")), gzip);
  assert.equal(variants.byEtag('"tag-gzip"', negotiateCoding("br")), undefined);
  assert.equal(variants.byEtag('"tag"', negotiateCoding("gzip")), variants.identity);
  assert.equal(variants.byEtag('"tag-br"', negotiateCoding("br")), undefined);
});
