// The header lines of a request, from the first to the empty line. See request-reader.ts for what is read and what is not.

import { headersByLength, knownHeaders, nameBytes, numberOf } from "./known-headers.ts";

const host = numberOf("host");
const connection = numberOf("connection");

const [space, colon, cr, lf] = [0x20, 0x3a, 0x0d, 0x0a];
/** The first byte of ASCII that is not printable. */
const del = 0x7f;

const keepAlive = Buffer.from("keep-alive", "latin1");

/** A registered name or an address, with a port or without (RFC 3986 § 3.2.2, less escapes and what no host has). */
const wellFormedHost = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;

/** Holds what it has read until it reads again. */
export class HeaderSection {
  bytes: Buffer = Buffer.alloc(0);
  /** In which reading a header was seen: nothing needs clearing between two. */
  readonly #seenIn = new Uint32Array(knownHeaders.length);
  readonly #starts = new Uint32Array(knownHeaders.length);
  readonly #ends = new Uint32Array(knownHeaders.length);
  readonly #texts: (string | undefined)[] = knownHeaders.map(() => undefined);
  #reading = 1;

  /** Reads the lines that begin at `from` and end before `limit`. Returns the end, or 0 when this is not for the lane. */
  read(bytes: Buffer, from: number, limit: number): number {
    this.bytes = bytes;
    if (++this.#reading > 0xffff_ffff) {
      // After four thousand million readings the numbers begin again; none may be left from before.
      this.#seenIn.fill(0);
      this.#reading = 1;
    }
    let at = from;
    while (at < limit && bytes[at] !== cr) {
      at = this.#readLine(bytes, at, limit);
      if (at === 0) return 0;
    }
    if (limit - at < 2 || bytes[at + 1] !== lf) return 0;
    return this.#seenIn[host] === this.#reading ? at + 2 : 0;
  }

  /** A header's value. */
  text(number: number): string | undefined {
    if (this.#seenIn[number] !== this.#reading) return undefined;
    return (this.#texts[number] ??= this.bytes.toString("latin1", this.#starts[number], this.#ends[number]));
  }

  /** Reads one line. Returns where the next one begins, or 0. */
  #readLine(bytes: Buffer, from: number, limit: number): number {
    let at = from;
    while (at < limit && nameBytes[bytes[at]!] !== 0) at++;
    if (at >= limit || bytes[at] !== colon) return 0;
    const number = numberOfName(bytes, from, at - from);
    if (number === -1 || this.#seenIn[number] === this.#reading) return 0;

    at++;
    while (at < limit && bytes[at] === space) at++;
    const valueStart = at;
    for (; at < limit; at++) {
      const byte = bytes[at]!;
      if (byte < space || byte >= del) break;
    }
    if (limit - at < 2 || bytes[at] !== cr || bytes[at + 1] !== lf) return 0;
    if (at === valueStart || bytes[at - 1] === space) return 0;
    if (number === host && !wellFormedHost.test(bytes.toString("latin1", valueStart, at))) return 0;
    if (number === connection && !isKeepAlive(bytes, valueStart, at)) return 0;
    this.#seenIn[number] = this.#reading;
    this.#starts[number] = valueStart;
    this.#ends[number] = at;
    this.#texts[number] = undefined;
    return at + 2;
  }
}

/** Which known header this is, or -1. */
function numberOfName(bytes: Buffer, from: number, length: number): number {
  const candidates = headersByLength[length];
  if (candidates === undefined) return -1;
  for (let c = 0; c < candidates.length; c++) {
    const { bytes: name, number } = candidates[c]!;
    let i = 0;
    while (i < length && nameBytes[bytes[from + i]!] === name[i]) i++;
    if (i === length) return number;
  }
  return -1;
}

/** Connection options are case-insensitive (RFC 9110 § 7.6.1). */
function isKeepAlive(bytes: Buffer, from: number, to: number): boolean {
  if (to - from !== keepAlive.length) return false;
  let i = 0;
  while (i < keepAlive.length && nameBytes[bytes[from + i]!] === keepAlive[i]) i++;
  return i === keepAlive.length;
}
