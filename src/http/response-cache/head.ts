// The head of a kept answer as bytes: everything that is the same for every request is written once, the rest at most once a second. Only the
// request's id is put behind it each time. See docs/response-cache.md.

import { STATUS_CODES, validateHeaderName, validateHeaderValue } from "node:http";
import type { ResponseEntry, StoredHeader } from "./entry.ts";
import { currentSecond, httpDate } from "./http-date.ts";
import { type Variant, type VariantName, codingOf } from "./variants.ts";

/** What describes the body is left out of a 304 (RFC 9110 § 15.4.5): the client has it. */
export const describesBody: ReadonlySet<string> = new Set([
  "content-type",
  "content-encoding",
  "content-disposition",
  "content-language",
]);

/** What the heads of one app have in common. */
export interface HeadParts {
  /** On every answer. */
  readonly commonHeaders: ReadonlyMap<string, string>;
  /** The cache's name in Cache-Status. */
  readonly name: string;
}

/** A number of seconds takes no more characters than this, its sign included. */
const mostDigits = 17;
const dateLength = 29;

/** Bytes that a head takes beside those of its text: objects, and the buffer's store. Measured with 10,000: 450 bytes. */
const overheadBytes = 460;

export class Head {
  /** Of the entry that it is for. */
  readonly serial: number;
  readonly status: number;
  readonly variant: VariantName;
  /** Of a 304: which of the client's tags it answers. */
  readonly etag: string | undefined;
  /** Names and values in turn, as ServerResponse.writeHead() takes them, without what changes. */
  readonly #constant: readonly string[];
  readonly #statusBefore: string;
  readonly #connection: string;
  #bytes: Buffer | undefined;
  #fixed = 0;
  #end = 0;
  #second = -1;
  #ttl = 0;
  #age = 0;

  /**
   * `etag`: of a 304. `connection`: header lines about the connection, as node:http would write them on this server. Everything is checked as
   * Node checks it, because it goes past Node, and what came from a shared store is not of our making.
   * @throws ERR_INVALID_HTTP_TOKEN, ERR_INVALID_CHAR
   */
  constructor(
    entry: ResponseEntry,
    variant: Variant,
    etag: string | undefined,
    parts: HeadParts,
    connection: string,
    cdnHeaders: readonly StoredHeader[] = [],
  ) {
    this.serial = entry.serial;
    this.status = etag === undefined ? entry.status : 304;
    this.variant = variant.name;
    this.etag = etag;
    this.#constant = constantHeaders(entry, variant, etag, parts.commonHeaders, cdnHeaders);
    const inner = entry.headers.find(({ name }) => name === "cache-status")?.values.join(", ");
    this.#statusBefore = `${inner ? `${inner}, ` : ""}${parts.name}; hit; ttl=`;
    this.#connection = connection;
    for (let i = 0; i < this.#constant.length; i += 2) {
      validateHeaderName(this.#constant[i]!);
      validateHeaderValue(this.#constant[i]!, this.#constant[i + 1]!);
    }
    validateHeaderValue("cache-status", this.#statusBefore);
  }

  /** What it takes in memory when it is written as bytes. */
  get bytes(): number {
    const text = this.#constant.reduce((sum, part) => sum + part.length + 2, 0);
    return overheadBytes + 2 * text + this.#statusBefore.length + this.#connection.length;
  }

  /** Bytes up to the request's id and the empty line. */
  length(ttl: number, age: number): number {
    this.#bring(ttl, age);
    return this.#end;
  }

  /** Copies it, with the id and the empty line, and returns the end. */
  copy(ttl: number, age: number, requestId: string, into: Buffer, at: number): number {
    this.#bring(ttl, age);
    const headEnd = at + this.#end;
    const end = headEnd + requestId.length + 4;
    if (end > into.length) throw new RangeError(`A head of ${end - at} bytes does not fit into ${into.length - at}.`);
    this.#bytes!.copy(into, at, 0, this.#end);
    // Ids are short and ASCII: a loop costs less than a call into the runtime.
    let to = headEnd;
    for (let i = 0; i < requestId.length; i++) into[to++] = requestId.charCodeAt(i);
    into[to++] = 13;
    into[to++] = 10;
    into[to++] = 13;
    into[to] = 10;
    return end;
  }

  /** For node:http, which writes Date and Connection itself. */
  list(ttl: number, age: number, requestId: string): string[] {
    return [...this.#constant, "cache-status", `${this.#statusBefore}${ttl}`, "age", String(age), "x-request-id", requestId];
  }

  /** Up to date. */
  #bring(ttl: number, age: number): void {
    const second = currentSecond();
    if (second === this.#second && ttl === this.#ttl && age === this.#age) return;
    this.#second = second;
    this.#ttl = ttl;
    this.#age = age;
    const bytes = (this.#bytes ??= this.#write());
    const changing = `${ttl}\r\nage: ${age}\r\nDate: ${httpDate(second)}\r\n${this.#connection}x-request-id: `;
    this.#end = this.#fixed + bytes.write(changing, this.#fixed, "latin1");
  }

  #write(): Buffer {
    let text = `HTTP/1.1 ${this.status} ${STATUS_CODES[this.status]}\r\n`;
    for (let i = 0; i < this.#constant.length; i += 2) text += `${this.#constant[i]}: ${this.#constant[i + 1]}\r\n`;
    text += `cache-status: ${this.#statusBefore}`;
    this.#fixed = text.length;
    const room = 2 * mostDigits + dateLength + this.#connection.length + 64;
    // Not of the pool: it would keep eight times as much alive.
    const bytes = Buffer.allocUnsafeSlow(text.length + room);
    bytes.write(text, "latin1");
    return bytes;
  }
}

function constantHeaders(
  entry: ResponseEntry,
  variant: Variant,
  etag: string | undefined,
  commonHeaders: ReadonlyMap<string, string>,
  cdnHeaders: readonly StoredHeader[],
): string[] {
  const isNotModified = etag !== undefined;
  const replaced = new Set(cdnHeaders.map(({ name }) => name));
  const headers = [...entry.headers.filter(({ name }) => !replaced.has(name)), ...cdnHeaders];
  const own = new Set(headers.map(({ name }) => name));
  const list: string[] = [];
  for (const [name, value] of commonHeaders) if (!own.has(name)) list.push(name, value);
  for (const { name, values } of headers) {
    if (name === "cache-status" || (isNotModified && describesBody.has(name))) continue;
    for (const value of values) list.push(name, value);
  }
  if (entry.vary !== "") list.push("vary", entry.vary);
  const sentEtag = etag ?? variant.etag;
  if (sentEtag !== undefined) list.push("etag", sentEtag);
  if (isNotModified) return list;
  const coding = codingOf(variant.name);
  if (coding !== "identity") list.push("content-encoding", coding);
  if (variant.etag !== undefined) list.push("accept-ranges", "bytes", "content-length", String(variant.body.length));
  return list;
}
