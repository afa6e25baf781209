// The forms in which a kept body goes to clients: as it is, and encoded. Encoded ones are made off the loop, and only for entries that are asked
// for again: most entries never are, and encoding would cost more than all the rest of a miss. See docs/compression.md.
//
// | asked for             | stands already | does not stand                                                                           |
// | --------------------- | -------------- | ---------------------------------------------------------------------------------------- |
// | by the first          | is sent        | small: the best that stands, at the least the identity. Large: made, and waited for      |
// | again                 | is sent        | the same, and it is made behind the answer                                               |
// | identity refused      | is sent        | another accepted one, or made and waited for                                             |
// | the answer is not kept| is sent        | made at once, as for an endpoint without a cache                                         |

import { type ContentCoding, encodeElsewhere, encodeHard, encodeNow } from "../compression/encode.ts";
import type { Coding, Negotiated } from "../compression/negotiate.ts";
import { compressionDefaults } from "../options.ts";
import { etagIn, namesEtag } from "./etag.ts";

const { minBytes, asyncBytes, hotBrotliUses, hotBrotliBytes, mostBuilds } = compressionDefaults;

/** br-11 is brotli too, made with more patience: other bytes, so another tag. */
export type EncodedName = ContentCoding | "br-11";
export type VariantName = EncodedName | "identity";

/** Every variant but the identity. The position is the number that stands for it in stored entries. */
export const encodedNames: readonly EncodedName[] = ["zstd", "br", "gzip", "br-11"];

export const codingOf = (name: VariantName): Coding => (name === "br-11" ? "br" : name);

/** A body as it goes over the wire. */
export class Variant {
  readonly name: VariantName;
  /** Strong unless the handler gave a weak one; undefined for answers without a body. */
  readonly etag: string | undefined;
  readonly body: Buffer;

  constructor(name: VariantName, etag: string | undefined, body: Buffer) {
    this.name = name;
    this.etag = etag && etagIn(etag, name);
    this.body = body;
  }
}

/** What an encoded one takes beside its bytes: objects, tag, buffer. Measured with 20,000: 390 bytes. */
const overheadBytes = 400;

/** As many of them as clients ask for: browsers for one, the programs behind them for another. */
const usualVariants = 3;

/** In this process: threads of libuv's pool are few, and others want them too. */
let builds = 0;

/** zlib's output may be a view of a larger buffer, which would stay alive uncounted. */
const exact = (bytes: Buffer): Buffer => (bytes.buffer.byteLength > bytes.length + 4_096 ? copyOf(bytes) : bytes);

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

export class Variants {
  readonly identity: Variant;
  /** Bytes that all encoded ones may take together: about as much as the body, 0 when it is not to be encoded. */
  readonly room: number;
  readonly #isCompressible: boolean;
  readonly #etag: string | undefined;
  #standing: Partial<Record<EncodedName, Variant>> | undefined;
  #taken = 0;
  /** Under way, or tried in vain: it does not fit. */
  #begun: Partial<Record<EncodedName, Promise<Buffer> | "unfit">> | undefined;
  #brotliUses = 0;

  constructor(
    body: Buffer,
    etag: string | undefined,
    compressible: boolean,
    encoded: Iterable<readonly [EncodedName, Buffer]> = [],
  ) {
    this.identity = new Variant("identity", etag, body);
    this.#etag = etag;
    this.#isCompressible = compressible && body.length > 0;
    this.room = !this.#isCompressible ? 0 : body.length + (body.length < minBytes ? 0 : usualVariants * overheadBytes);
    for (const [name, bytes] of encoded) this.#keep(name, bytes);
  }

  /** The encoded ones that stand. */
  get encoded(): readonly Variant[] {
    return this.#standing ? Object.values(this.#standing) : [];
  }

  get(name: VariantName): Variant | undefined {
    return name === "identity" ? this.identity : this.#standing?.[name];
  }

  /** What a client gets at once that takes `negotiated`; undefined: it has to be made first. `again`: the entry is hit, not just made. */
  now(negotiated: Negotiated, again: boolean): Variant | undefined {
    const coding = this.#wanted(negotiated);
    if (coding === "identity") return this.identity;
    const standing = this.#inCoding(coding);
    if (standing) {
      if (again && coding === "br" && standing.name === "br") this.#countBrotli();
      return standing;
    }
    const isUnfit = this.#begun?.[coding] === "unfit";
    if (!isUnfit && this.identity.body.length > asyncBytes) return undefined; // a worker's time is less than the line's for so many bytes
    if (!isUnfit && again) this.#buildBehind(coding, () => encodeElsewhere(coding, this.identity.body));
    for (const other of negotiated.accepted) {
      const found = other === "identity" ? this.identity : this.#inCoding(other);
      if (found) return found;
    }
    return undefined;
  }

  /** As now(), when that has given nothing. */
  async made(negotiated: Negotiated): Promise<Variant> {
    const coding = this.#wanted(negotiated);
    if (coding === "identity") return this.identity;
    const { body } = this.identity;
    const begun = this.#begun?.[coding];
    const encoded = await (begun === undefined || begun === "unfit"
      ? this.#build(coding, () => encodeElsewhere(coding, body))
      : begun);
    return this.#inCoding(coding) ?? new Variant(coding, this.#etag, encoded);
  }

  /** For an answer that is not kept: encoded as one of an endpoint without a cache. */
  once(negotiated: Negotiated): Variant | Promise<Variant> {
    const coding = this.#wanted(negotiated);
    if (coding === "identity") return this.identity;
    const { body } = this.identity;
    return body.length <= asyncBytes ? new Variant(coding, this.#etag, encodeNow(coding, body)) : this.made(negotiated);
  }

  /**
   * The tag by which a client has this body already, in a form that it takes now. It need not stand here: a tag says what its bytes are. The one
   * that it would get comes first, for "*".
   */
  known(negotiated: Negotiated, ifNoneMatch: string): string | undefined {
    if (this.#etag === undefined) return undefined;
    for (const coding of this.#isCompressible ? negotiated.accepted : identityOnly) {
      const etag = etagIn(this.#etag, coding);
      if (namesEtag(ifNoneMatch, etag)) return etag;
      if (coding !== "br") continue;
      const hot = etagIn(this.#etag, "br-11");
      if (namesEtag(ifNoneMatch, hot)) return hot;
    }
    return undefined;
  }

  /** The one with exactly these bytes, if the client takes it. */
  byEtag(etag: string, negotiated: Negotiated): Variant | undefined {
    if (this.identity.etag === etag) return this.identity;
    return this.encoded.find((variant) => variant.etag === etag && negotiated.accepted.includes(codingOf(variant.name)));
  }

  #wanted({ coding, identityRefused }: Negotiated): Coding {
    return !this.#isCompressible || (this.identity.body.length < minBytes && !identityRefused) ? "identity" : coding;
  }

  #inCoding(coding: ContentCoding): Variant | undefined {
    const standing = this.#standing;
    if (standing === undefined) return undefined;
    return coding === "br" ? (standing["br-11"] ?? standing.br) : standing[coding];
  }

  #countBrotli(): void {
    if (this.identity.body.length > hotBrotliBytes || ++this.#brotliUses % hotBrotliUses !== 0) return;
    if (this.#begun?.["br-11"] === undefined) this.#buildBehind("br-11", () => encodeHard(this.identity.body));
  }

  /** Makes it while nobody waits, unless it is being made, or the pool has enough to do: the next hit asks again. */
  #buildBehind(name: EncodedName, encode: () => Promise<Buffer>): void {
    if (this.#begun?.[name] !== undefined || builds >= mostBuilds) return;
    this.#build(name, encode).catch(() => {}); // memory ran out: what stands goes on being sent
  }

  #build(name: EncodedName, encode: () => Promise<Buffer>): Promise<Buffer> {
    builds++;
    const begun = (this.#begun ??= {});
    const building = encode().then(
      (encoded) => {
        builds--;
        if (this.#keep(name, encoded)) delete begun[name];
        else begun[name] = "unfit";
        return encoded;
      },
      (error: unknown) => {
        builds--;
        delete begun[name];
        throw error;
      },
    );
    begun[name] = building;
    return building;
  }

  #keep(name: EncodedName, encoded: Buffer): boolean {
    const replaced = name === "br-11" ? this.#standing?.br?.body.length : undefined;
    if (replaced !== undefined && encoded.length >= replaced) return false; // all for nothing: it happens
    const more = encoded.length + overheadBytes - (replaced === undefined ? 0 : replaced + overheadBytes);
    if (encoded.length >= this.identity.body.length || this.#taken + more > this.room) return false; // made again for whoever insists
    const standing = (this.#standing ??= {});
    if (name === "br-11") delete standing.br;
    standing[name] = new Variant(name, this.#etag, exact(encoded));
    this.#taken += more;
    return true;
  }
}

const identityOnly: readonly Coding[] = ["identity"];
