// An answer as it is kept: status, headers and bytes, ready to be sent again without handler and serializer. See
// docs/response-cache.md.
//
// What every answer of an app has (security headers, request id) is not in it: an app whose common headers change changes them on what
// the shared store holds, too. Heads are made per process (head.ts), variants when the entry is hit again (variants.ts).

import type { Outcome } from "../../cache/index.ts";
import type { Failure } from "../problem-table.ts";
import { type EncodedName, Variants } from "./variants.ts";

/** A header of an answer in lower case; without values it takes one of the common headers away. */
export interface StoredHeader {
  readonly name: string;
  readonly values: readonly string[];
}

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

/** Beside body and headers: the object, its variants and their tags. Measured with 10,000 entries: 790 bytes and the tag. */
const overheadBytes = 1_024;

let entries = 0;

export class ResponseEntry implements EntryParts {
  /** Tells the entries of this process apart, for those who do not want to hold on to one. */
  readonly serial: number = ++entries;
  readonly status: number;
  readonly headers: readonly StoredHeader[];
  readonly body: Buffer;
  readonly etag: string | undefined;
  readonly vary: string;
  readonly compressible: boolean;
  readonly forAuthorized: boolean;
  readonly age: number;
  readonly failure: Failure | undefined;
  /** The body as it is, and encoded. */
  readonly variants: Variants;

  constructor(parts: EntryParts, encoded: Iterable<readonly [EncodedName, Buffer]> = []) {
    this.status = parts.status;
    this.headers = parts.headers;
    this.body = parts.body;
    this.etag = parts.etag;
    this.vary = parts.vary;
    this.compressible = parts.compressible;
    this.forAuthorized = parts.forAuthorized;
    this.age = parts.age;
    this.failure = parts.failure;
    this.variants = new Variants(parts.body, parts.etag, parts.compressible, encoded);
  }

  /** What the memory tier counts: with all the room that variants may take, so that they can be made at need without being counted anew. */
  get bytes(): number {
    let bytes = overheadBytes + this.body.length + this.variants.room;
    for (const { name, values } of this.headers) {
      bytes += 2 * name.length;
      for (const value of values) bytes += 2 * value.length;
    }
    if (this.failure) bytes += 2 * this.failure.detail.length;
    return bytes;
  }

  /** The one value of a header; undefined when it has none, or several. */
  header(sought: string): string | undefined {
    for (const { name, values } of this.headers) if (name === sought) return values.length === 1 ? values[0] : undefined;
    return undefined;
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
