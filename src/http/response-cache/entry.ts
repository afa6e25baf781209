// An answer as it is kept: status, headers and bytes, ready to be sent again without handler and serializer. See
// docs/response-cache.md.
//
// What every answer of an app has (security headers, request id) is not in it: an app whose common headers change changes them on what
// the shared store holds, too. The heads, one per coding, are made once per process.

import type { Outcome } from "../../cache/index.ts";
import { encodeElsewhere, encodeNow } from "../compression/encode.ts";
import type { Coding } from "../compression/negotiate.ts";
import { compressionDefaults } from "../options.ts";
import type { Failure } from "../problem-table.ts";
import { etagIn } from "./etag.ts";

/** A header of an answer in lower case; without values it takes one of the common headers away. */
export interface StoredHeader {
  readonly name: string;
  readonly values: readonly string[];
}

type ContentCoding = Exclude<Coding, "identity">;

/** What an entry is made of. */
export interface EntryParts {
  readonly status: number;
  /** Neither etag, vary, nor content-encoding of variants: those belong to the heads. */
  readonly headers: readonly StoredHeader[];
  /** Empty for answers without a body. */
  readonly body: Buffer;
  /** Of the body as it is; undefined for problems and answers without a body. */
  readonly etag: string | undefined;
  /** Header names, in lower case and one text: what the answer may differ by. Empty: nothing. */
  readonly vary: string;
  /** Whether variants may be made. */
  readonly compressible: boolean;
  /** RFC 9111 § 3.5: public, s-maxage or must-revalidate. It may answer requests with Authorization. */
  readonly forAuthorized: boolean;
  /** Seconds that what it says was old when it was made: the Age that its handler has set (RFC 9111 § 5.1), else 0. */
  readonly age: number;
  /** A problem is kept as what it says: its document names the request. */
  readonly failure: Failure | undefined;
}

/** Beside body and headers: the object, its maps and heads. Measured with 10,000 entries: 700 to 1,100 bytes. */
const overheadBytes = 1_024;

export class ResponseEntry implements EntryParts {
  readonly status: number;
  readonly headers: readonly StoredHeader[];
  readonly body: Buffer;
  readonly etag: string | undefined;
  readonly vary: string;
  readonly compressible: boolean;
  readonly forAuthorized: boolean;
  readonly age: number;
  readonly failure: Failure | undefined;
  readonly #variants = new Map<ContentCoding, Buffer | Promise<Buffer>>();
  readonly #heads = new Map<Coding, Readonly<Record<string, string | string[]>>>();
  #variantBytes = 0;

  constructor(parts: EntryParts, variants: Iterable<readonly [ContentCoding, Buffer]> = []) {
    this.status = parts.status;
    this.headers = parts.headers;
    this.body = parts.body;
    this.etag = parts.etag;
    this.vary = parts.vary;
    this.compressible = parts.compressible;
    this.forAuthorized = parts.forAuthorized;
    this.age = parts.age;
    this.failure = parts.failure;
    for (const [coding, bytes] of variants) this.#keep(coding, bytes);
  }

  /** The variants made so far. */
  get variants(): readonly (readonly [ContentCoding, Buffer])[] {
    return [...this.#variants].filter((variant): variant is [ContentCoding, Buffer] => Buffer.isBuffer(variant[1]));
  }

  /**
   * What the memory tier counts: the body twice when it can be encoded. Its variants may take as much again and no more, so that they can be
   * made at need without being counted anew.
   */
  get bytes(): number {
    let bytes = overheadBytes + this.body.length + this.#variantRoom;
    for (const { name, values } of this.headers) {
      bytes += 2 * name.length;
      for (const value of values) bytes += 2 * value.length;
    }
    if (this.failure) bytes += 2 * this.failure.detail.length;
    return bytes;
  }

  get #variantRoom(): number {
    return this.compressible && this.body.length > 0 ? this.body.length : 0;
  }

  /** Which of its codings a client gets that prefers `coding`. */
  codingFor(coding: Coding, identityRefused: boolean): Coding {
    if (!this.compressible || coding === "identity") return "identity";
    return this.body.length < compressionDefaults.minBytes && !identityRefused ? "identity" : coding;
  }

  /** The body in `coding`, encoded at most once: on this thread when it is small, on another when it is not. */
  bodyIn(coding: Coding): Buffer | Promise<Buffer> {
    if (coding === "identity") return this.body;
    const known = this.#variants.get(coding);
    if (known) return known;
    if (this.body.length <= compressionDefaults.asyncBytes) {
      const encoded = encodeNow(coding, this.body);
      this.#keep(coding, encoded);
      return encoded;
    }
    const encoding = encodeElsewhere(coding, this.body).then(
      (encoded) => {
        this.#variants.delete(coding);
        this.#keep(coding, encoded);
        return encoded;
      },
      (error: unknown) => {
        this.#variants.delete(coding);
        throw error;
      },
    );
    this.#variants.set(coding, encoding);
    return encoding;
  }

  #keep(coding: ContentCoding, encoded: Buffer): void {
    if (this.#variantBytes + encoded.length > this.#variantRoom) return; // does not shrink: made again for whoever insists
    // zlib's output may be a view of a larger buffer, which would stay alive uncounted.
    const exact = encoded.buffer.byteLength > encoded.length + 4_096 ? Buffer.from(encoded) : encoded;
    this.#variants.set(coding, exact);
    this.#variantBytes += exact.length;
  }

  etagIn(coding: Coding): string | undefined {
    return this.etag && etagIn(this.etag, coding);
  }

  /** Everything but what differs from answer to answer, made once. */
  headIn(coding: Coding): Readonly<Record<string, string | string[]>> {
    const known = this.#heads.get(coding);
    if (known) return known;
    const head: Record<string, string | string[]> = {};
    for (const { name, values } of this.headers) {
      if (values.length === 1) head[name] = values[0]!;
      else if (values.length > 1) head[name] = [...values];
    }
    if (this.vary !== "") head["vary"] = this.vary;
    if (coding !== "identity") head["content-encoding"] = coding;
    const etag = this.etagIn(coding);
    if (etag !== undefined) head["etag"] = etag;
    this.#heads.set(coding, Object.freeze(head));
    return head;
  }
}

/** An answer that only the request it was made for may have. */
export class PersonalAnswer {
  /** Whose it is: an Exchange, or nobody's when it was made ahead of time. */
  readonly owner: object | undefined;
  /** Why, in one sentence. */
  readonly reason: string;
  readonly outcome: { readonly result: unknown } | { readonly error: unknown };

  constructor(owner: object | undefined, reason: string, outcome: PersonalAnswer["outcome"]) {
    this.owner = owner;
    this.reason = reason;
    this.outcome = outcome;
  }
}

/** A refusal of the request (4xx): the same for all who ask the same, but not kept. */
export class RefusedRequest {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/** What a fill gives to those who wait for it. */
export type FilledAnswer = ResponseEntry | PersonalAnswer | RefusedRequest;

export type AnswerOutcome = Outcome<FilledAnswer>;
