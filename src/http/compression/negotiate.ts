// Which content coding an answer gets (RFC 9110 § 12.5.3), decided once per distinct Accept-Encoding header. See docs/compression.md.

import { createRequire } from "node:module";
import { maxNegotiations } from "../options.ts";

export type Coding = "zstd" | "br" | "gzip" | "identity";

/** What a client takes. */
export interface Negotiated {
  /** The best coding for a body that is worth encoding. */
  readonly coding: Coding;
  /** All that it takes, the best first. */
  readonly accepted: readonly Coding[];
  /** Whether the client refuses bodies that are not encoded, so that even a small one must be. */
  readonly identityRefused: boolean;
}

// CommonJS, and without types of its own.
const Negotiator = createRequire(import.meta.url)("negotiator") as new (request: { headers: Record<string, string> }) => {
  encodings(available: readonly Coding[], options: { preferred: readonly Coding[] }): Coding[];
};

/** The server's preference where the client has none: the best ratio for the time. */
const preferred: readonly Coding[] = ["zstd", "br", "gzip", "identity"];

const plain: Negotiated = Object.freeze<Negotiated>({ coding: "identity", accepted: ["identity"], identityRefused: false });

/** Headers longer than this are decided each time instead of kept. */
const maxKeptLength = 200;
const kept = new Map<string, Negotiated>();

function decide(acceptEncoding: string): Negotiated {
  // RFC 9110 § 8.4.1.3: x-gzip is gzip.
  const header = acceptEncoding.toLowerCase().replaceAll("x-gzip", "gzip");
  const accepted = new Negotiator({ headers: { "accept-encoding": header } }).encodings(preferred, { preferred });
  const [coding] = accepted;
  // Nothing that we have is accepted: § 12.1 lets a server disregard the header, and a plain answer helps more than a 406.
  if (coding === undefined) return plain;
  return Object.freeze({ coding, accepted, identityRefused: !accepted.includes("identity") });
}

/** The coding for `acceptEncoding`. Without the header: none, for a client that can decode says so. */
export function negotiateCoding(acceptEncoding: string | undefined): Negotiated {
  if (acceptEncoding === undefined) return plain;
  const known = kept.get(acceptEncoding);
  if (known) return known;
  const decided = decide(acceptEncoding);
  if (acceptEncoding.length <= maxKeptLength) {
    if (kept.size >= maxNegotiations) kept.clear(); // somebody sends random headers: start over instead of growing
    kept.set(acceptEncoding, decided);
  }
  return decided;
}

/** RFC 9110 media types whose bytes shrink: text, JSON, XML, JavaScript and their relatives. */
const compressibleType =
  /^(?:text\/(?!event-stream)|application\/(?:[\w.+-]*\+)?(?:json|xml|javascript|x-ndjson|ndjson|wasm|yaml|csv)\b|image\/svg\+xml)/i;

const types = new Map<string, boolean>();

/** Whether bodies of `contentType` are worth encoding. Event streams are not: intermediaries hold encoded ones back. */
export function isCompressible(contentType: string): boolean {
  let known = types.get(contentType);
  if (known === undefined) {
    known = compressibleType.test(contentType);
    if (types.size < maxNegotiations) types.set(contentType, known);
  }
  return known;
}
