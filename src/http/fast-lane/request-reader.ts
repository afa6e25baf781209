// Reads a request from bytes, or does not: only a complete and well-formed GET of HTTP/1.1 that means one thing to everybody. Not a parser: what
// it does not read goes to node's, which decides what it is. See docs/fast-lane.md.
//
//   GET <target> HTTP/1.1 CRLF
//   <name>: <value> CRLF            names from known-headers.ts, each once, one of them Host
//   CRLF
//
// Stricter than RFC 9112 wherever parsers have ever disagreed: every line ends with CRLF, one space stands in each place of the request line, names
// are followed by the colon at once, values are printable ASCII without white space around (spaces before them apart) and never empty.
//
// The fuzz (docs/fast-lane.md) compares it with node's parser: what it reads, node reads as exactly this one request, from the same bytes.

import type { FastRequest } from "./answers.ts";
import { HeaderSection } from "./header-section.ts";
import { knownHeaders, numberOf } from "./known-headers.ts";

/** Longer heads go the ordinary way: those of browsers without cookies have 500 to 900 bytes. */
export const maxHeadBytes = 4_096;
/** Longer targets do, too. */
export const maxTargetBytes = 2_048;

const acceptEncoding = numberOf("accept-encoding");
const ifNoneMatch = numberOf("if-none-match");
const requestId = numberOf("x-request-id");

/** How many header sections are remembered. A client sends the same one with most of its requests, and its length tells it from others. */
const memorySize = 64; // a power of two; with maxHeadBytes 256 KiB at most
/** A section is remembered when it comes, but not each: it may be one that never comes again. */
const rememberOneIn = 8;

const [space, hash, del] = [0x20, 0x23, 0x7f];

const start = Buffer.from("GET /", "latin1");
const version = Buffer.from(" HTTP/1.1\r\n", "latin1");

/** The shortest that there is: "GET / HTTP/1.1", "Host:x" and the empty line. */
const minHeadBytes = start.length + version.length + "host:x\r\n".length + 2;

/** One reader for any number of requests, one after the other: it holds what it has read until it reads again. */
export class RequestReader implements FastRequest {
  readonly #maxHeadBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  #targetStart = 0;
  #targetEnd = 0;
  #section: HeaderSection;
  readonly #scratch = new HeaderSection();
  readonly #remembered: (HeaderSection | undefined)[] = Array.from({ length: memorySize }, () => undefined);
  #unknownSections = 0;

  /** `maxBytes`: longer heads are not read; at most `maxHeadBytes`. */
  constructor(maxBytes = maxHeadBytes) {
    this.#maxHeadBytes = Math.min(maxBytes, maxHeadBytes);
    this.#section = this.#scratch;
  }

  get target(): string {
    return this.#bytes.toString("latin1", this.#targetStart, this.#targetEnd);
  }

  get acceptEncoding(): string | undefined {
    return this.#section.text(acceptEncoding);
  }

  get ifNoneMatch(): string | undefined {
    return this.#section.text(ifNoneMatch);
  }

  get requestId(): string | undefined {
    return this.#section.text(requestId);
  }

  header(name: string): string | undefined {
    const number = (knownHeaders as readonly string[]).indexOf(name);
    return number === -1 ? undefined : this.#section.text(number);
  }

  /** Reads the request that begins at `from`. Returns where it ends, or 0 when it is not for the lane; then there is nothing to ask the reader for. */
  read(bytes: Buffer, from: number): number {
    const limit = Math.min(bytes.length, from + this.#maxHeadBytes);
    if (limit - from < minHeadBytes || !isAt(bytes, from, start)) return 0;

    // The target: visible ASCII without a fragment, beginning with the slash.
    let at = from + start.length;
    for (; at < limit; at++) {
      const byte = bytes[at]!;
      if (byte <= space || byte >= del || byte === hash) break;
    }
    const targetStart = from + start.length - 1;
    if (at - targetStart > maxTargetBytes || limit - at < version.length || !isAt(bytes, at, version)) return 0;
    this.#bytes = bytes;
    this.#targetStart = targetStart;
    this.#targetEnd = at;
    return this.#readSection(bytes, at + version.length, limit);
  }

  /** What header lines mean does not depend on the request line: what has been read once needs only to be compared. */
  #readSection(bytes: Buffer, from: number, limit: number): number {
    const place = (bytes.length - from) & (memorySize - 1);
    const known = this.#remembered[place];
    if (known !== undefined) {
      const end = from + known.bytes.length;
      if (end <= limit && known.bytes.compare(bytes, from, end) === 0) {
        this.#section = known;
        return end;
      }
    }
    this.#section = this.#scratch;
    const end = this.#scratch.read(bytes, from, limit);
    if (end === bytes.length && ++this.#unknownSections % rememberOneIn === 0) {
      const section = new HeaderSection();
      const copy = Buffer.allocUnsafeSlow(end - from); // not a part of a pool, which would stay alive with it
      bytes.copy(copy, 0, from, end);
      section.read(copy, 0, copy.length);
      this.#remembered[place] = section;
    }
    return end;
  }
}

/** Whether `expected` stands at `at`. There must be room for it. */
function isAt(bytes: Buffer, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return false;
  return true;
}
