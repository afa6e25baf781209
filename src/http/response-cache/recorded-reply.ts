// The `reply` of a handler whose answer others may get too: it notes status and headers. Whatever goes beyond that (send, raw, hijack, cookies
// of a plugin) reaches the reply of the one request that waits, and makes the answer that request's own.

import { validateHeaderName, validateHeaderValue } from "node:http";
import type { FastifyReply } from "fastify";
import type { StoredHeader } from "./entry.ts";

type HeaderValue = number | string | readonly string[] | undefined;

/** Describe a connection, not an answer (RFC 9110 § 7.6.1), or are made for every answer anew. */
const notKept = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "date",
  "age",
  "x-request-id",
]);

const textsOf = (value: HeaderValue): string[] => (Array.isArray(value) ? value.map(String) : [String(value ?? "")]);

/** What a handler has said beside its result. */
export class RecordedHead {
  status: number | undefined;
  readonly headers = new Map<string, string[]>();
  readonly #common: ReadonlyMap<string, string>;

  constructor(common: ReadonlyMap<string, string>) {
    this.#common = common;
  }

  /** As Fastify's reply.header(): the last value counts, except that cookies add up. */
  set(name: string, value: HeaderValue): void {
    const key = String(name).toLowerCase();
    const before = key === "set-cookie" ? (this.headers.get(key) ?? []) : [];
    this.headers.set(key, [...before, ...textsOf(value)]);
  }

  remove(name: string): void {
    const key = name.toLowerCase();
    if (this.#common.has(key)) this.headers.set(key, []);
    else this.headers.delete(key);
  }

  get(name: string): string | string[] | undefined {
    const key = name.toLowerCase();
    const values = this.headers.get(key);
    if (values === undefined) return this.#common.get(key);
    return values.length > 1 ? values : values[0];
  }

  /** One text, as for a header that is a list. */
  text(name: string): string | undefined {
    const values = this.headers.get(name);
    return values && values.length > 0 ? values.join(", ") : undefined;
  }

  /** Puts it on a real reply. */
  applyTo(reply: FastifyReply): void {
    if (this.status !== undefined) reply.code(this.status);
    for (const [name, values] of this.headers) {
      if (values.length === 0) reply.removeHeader(name);
      else reply.header(name, values.length > 1 ? values : values[0]);
    }
  }

  /**
   * What of it may be kept.
   * @throws ERR_INVALID_HTTP_TOKEN, ERR_INVALID_CHAR, as Node does when an answer with such a header is sent: kept heads go out as bytes
   */
  kept(): StoredHeader[] {
    const kept: StoredHeader[] = [];
    for (const [name, values] of this.headers) {
      if (notKept.has(name)) continue;
      validateHeaderName(name);
      for (const value of values) validateHeaderValue(name, value);
      kept.push({ name, values });
    }
    return kept;
  }
}

/**
 * The reply. `realReply` is called at the first use of anything that is not recorded: it says that the answer is personal from then on, and
 * returns the reply of the request that waits.
 * @throws what `realReply` throws when no request waits
 */
export function recordedReply(head: RecordedHead, realReply: (use: string) => FastifyReply): FastifyReply {
  let real: FastifyReply | undefined;
  const recorded: Record<string, unknown> = {
    header(name: string, value: HeaderValue) {
      if (real) real.header(name, value);
      else head.set(name, value);
      return reply;
    },
    headers(values: Readonly<Record<string, HeaderValue>>) {
      for (const [name, value] of Object.entries(values)) reply.header(name, value);
      return reply;
    },
    getHeader: (name: string) => (real ? real.getHeader(name) : head.get(name)),
    hasHeader: (name: string) => (real ? real.hasHeader(name) : head.get(name) !== undefined),
    removeHeader(name: string) {
      if (real) real.removeHeader(name);
      else head.remove(name);
      return reply;
    },
    type: (type: string) => reply.header("content-type", type),
    code(status: number) {
      if (real) real.code(status);
      else head.status = status;
      return reply;
    },
    status: (status: number) => reply.code(status),
  };
  const reply = new Proxy(recorded, {
    get(target, name) {
      if (typeof name === "string" && Object.hasOwn(target, name)) return target[name];
      if (!real && (name === "statusCode" || name === "sent")) return name === "sent" ? false : (head.status ?? 200);
      if (!real) {
        real = realReply(String(name));
        head.applyTo(real);
        head.headers.clear();
        head.status = undefined;
      }
      const value = Reflect.get(real, name, real) as unknown;
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(real) : value;
    },
    set(_target, name, value) {
      if (!real && name === "statusCode") {
        head.status = value as number;
        return true;
      }
      real ??= realReply(String(name));
      return Reflect.set(real, name, value, real);
    },
    // The type says what Fastify's reply has; the proxy has all of it.
  }) as unknown as FastifyReply;
  return reply;
}
