// A real origin whose answers a test writes down, and a proxy in front of it whose clock a test moves.

import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Clock, systemClock } from "../../src/core/index.ts";
import { type Proxy, type ProxyOptions, createProxy } from "../../src/proxy/index.ts";

/** A value may depend on the time of the answer. */
export type Value = string | readonly string[] | ((nowMs: number) => string);
export type Headers = Readonly<Record<string, Value>>;

export interface Answer {
  readonly status?: number;
  readonly headers?: Headers;
  readonly body?: string;
  /** The connection breaks instead. */
  readonly breaks?: true;
  /** 304 when the request has a condition; a request without one is answered by 599, which no test wants. */
  readonly onlyIfAsked?: "if-none-match" | "if-modified-since";
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The time, which passes by itself, and jumps when a test says so. */
export interface ShiftedClock extends Clock {
  shift(seconds: number): void;
}

export function shiftedClock(): ShiftedClock {
  let shiftMs = 0;
  return {
    now: () => systemClock.now() + shiftMs,
    monotonic: () => systemClock.monotonic(),
    timer: (delayMs, callback, keepAlive) => systemClock.timer(delayMs, callback, keepAlive),
    shift: (seconds) => void (shiftMs += seconds * 1_000),
  };
}

export const date =
  (seconds: number) =>
  (nowMs: number): string =>
    new Date(nowMs + seconds * 1_000).toUTCString();

export interface World extends AsyncDisposable {
  readonly proxy: Proxy;
  /** Of the proxy. */
  readonly url: string;
  readonly originUrl: string;
  readonly clock: ShiftedClock;
  /** Requests that the origin got for a path, in order. */
  seen(path: string): readonly Seen[];
  /** The next answers for a path. When none is left the last one is given again. */
  script(path: string, ...answers: readonly Answer[]): void;
  /** Answers for a path in its own way. */
  handle(path: string, handler: Handler): void;
}

export async function createWorld(options: Partial<ProxyOptions> = {}): Promise<World> {
  const clock = shiftedClock();
  const seen = new Map<string, Seen[]>();
  const scripts = new Map<string, Answer[]>();
  const handlers = new Map<string, Handler>();
  const server = createServer((request, response) => {
    const path = request.url!.split("?", 1)[0]!;
    const handler = handlers.get(path);
    if (handler) return handler(request, response);
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const ofPath = seen.get(path) ?? [];
      seen.set(path, [...ofPath, { method, url, headers, body: Buffer.concat(chunks).toString() }]);
      const script = scripts.get(path) ?? [{}];
      answerWith(script.length > 1 ? script.shift()! : script[0]!, request, response, clock.now());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const originUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const proxy = createProxy({ to: originUrl, clock, ...options });
  const { url } = await proxy.listen();
  return {
    proxy,
    url,
    originUrl,
    clock,
    seen: (path) => seen.get(path) ?? [],
    script: (path, ...answers) => void scripts.set(path, [...answers]),
    handle: (path, handler) => void handlers.set(path, handler),
    async [Symbol.asyncDispose]() {
      await proxy.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answerWith(answer: Answer, request: IncomingMessage, response: ServerResponse, nowMs: number): void {
  if (answer.breaks) {
    response.destroy();
    return;
  }
  const { headers = {}, body = "body", onlyIfAsked } = answer;
  let { status = 200 } = answer;
  if (onlyIfAsked) status = request.headers[onlyIfAsked] === undefined ? 599 : 304;
  response.sendDate = false;
  response.statusCode = status;
  if (!("Date" in headers)) response.setHeader("Date", new Date(nowMs).toUTCString());
  for (const [name, value] of Object.entries(headers)) {
    response.setHeader(name, typeof value === "function" ? value(nowMs) : value);
  }
  if (status === 304 || status === 204 || request.method === "HEAD") response.end();
  else response.end(body);
}
