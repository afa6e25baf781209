// What a client gets: a stored answer (whole, in part, or 304), the head of a passing one, or a failure in words.

import { STATUS_CODES, type ServerResponse } from "node:http";
import {
  type CacheStatus,
  Fields,
  currentAge,
  formatCacheStatus,
  isNotModified,
  notModifiedFields,
  rangeHolds,
  rangeOf,
} from "../http-caching/index.ts";
import type { StoredAnswer } from "./stored-answer.ts";

/** One request's side of the client. */
export interface Client {
  readonly method: string;
  readonly fields: Fields;
  readonly response: ServerResponse;
}

export interface ReplyOptions {
  readonly name: string;
  readonly via: string;
  readonly now: () => number;
}

const hasNoBody = (status: number): boolean => status === 204 || status === 304;

export class Replies {
  readonly #options: ReplyOptions;
  /** What was said about each answer, for the log. */
  readonly said = new WeakMap<ServerResponse, string>();

  constructor(options: ReplyOptions) {
    this.#options = options;
  }

  /** Answers with what is stored. */
  stored(client: Client, stored: StoredAnswer, status: CacheStatus): void {
    const { fields, body, facts } = stored;
    const nowMs = this.#options.now();
    const age = ["Age", String(Math.floor(currentAge(facts, nowMs) / 1_000))];
    if (isNotModified(client.fields, stored.status, fields, facts.responseTimeMs)) {
      this.#head(client, 304, "Not Modified", notModifiedFields(fields), age, status);
      client.response.end();
      return;
    }
    const range = client.method === "GET" && stored.status === 200 ? client.fields.get("range") : undefined;
    if (range !== undefined && rangeHolds(client.fields, fields, nowMs)) {
      const wanted = rangeOf(range, body.byteLength);
      if (wanted !== undefined) return this.#part(client, stored, wanted, age, status);
    }
    const withLength = hasNoBody(stored.status)
      ? fields.without((name) => name === "content-length")
      : whole(fields, body.byteLength);
    this.#head(client, stored.status, stored.statusText, withLength, age, status);
    if (client.method === "HEAD") client.response.end();
    else client.response.end(body);
  }

  /** The head of an answer whose body follows; with `more` fields. */
  head(client: Client, statusCode: number, text: string, fields: Fields, more: readonly string[], status: CacheStatus): void {
    this.#head(client, statusCode, text, fields, more, status);
  }

  /** A failure of the proxy's own, as a problem document (RFC 9457). */
  failure(client: Client, statusCode: number, code: string, detail: string, status: CacheStatus | undefined): void {
    const { response } = client;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const title = STATUS_CODES[statusCode] ?? "Failure";
    const body = JSON.stringify({ type: "about:blank", title, status: statusCode, detail, code });
    const fields = new Fields([
      ...["Content-Type", "application/problem+json", "Content-Length", String(Buffer.byteLength(body))],
      ...["Cache-Control", "no-store"],
    ]);
    this.#head(client, statusCode, title, fields, [], status ?? { detail: code });
    response.end(client.method === "HEAD" ? undefined : body);
  }

  #part(
    client: Client,
    { fields, body }: StoredAnswer,
    wanted: Exclude<ReturnType<typeof rangeOf>, undefined>,
    age: readonly string[],
    status: CacheStatus,
  ): void {
    const size = body.byteLength;
    if (wanted === "unsatisfiable") {
      const own = new Fields(["Content-Range", `bytes */${size}`, "Content-Length", "0"]);
      this.#head(client, 416, "Range Not Satisfiable", own, [], status);
      client.response.end();
      return;
    }
    const { start, end } = wanted;
    const own = whole(fields, end - start + 1).with("Content-Range", `bytes ${start}-${end}/${size}`);
    this.#head(client, 206, "Partial Content", own, age, status);
    client.response.end(body.subarray(start, end + 1));
  }

  #head(client: Client, statusCode: number, text: string, fields: Fields, more: readonly string[], status: CacheStatus): void {
    const { name, via } = this.#options;
    const said = formatCacheStatus(name, status);
    const cacheStatus = fields.get("cache-status");
    const viaBefore = fields.get("via");
    const kept = fields.without((one) => one === "cache-status" || one === "via");
    this.said.set(client.response, said);
    client.response.writeHead(statusCode, text || (STATUS_CODES[statusCode] ?? ""), [
      ...kept.flat,
      ...more,
      ...["Via", viaBefore === undefined ? via : `${viaBefore}, ${via}`],
      ...["Cache-Status", cacheStatus === undefined ? said : `${cacheStatus}, ${said}`],
    ]);
  }
}

/** The fields with the length of what is sent. */
const whole = (fields: Fields, bytes: number): Fields => fields.with("Content-Length", String(bytes));
