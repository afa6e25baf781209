// A raw HTTP client for tests: exactly these bytes go out, and what comes back is read as it is.

import { type Socket, connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { type RequestOptions, request as httpRequest } from "node:http";

/** An answer, body included. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  readonly text: string;
  /** False when the connection broke before the body's end. */
  readonly complete: boolean;
  /** Tells connections apart. */
  readonly localPort: number | undefined;
}

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly requestId: string;
  readonly errors?: readonly {
    readonly in: string;
    readonly field: string;
    readonly message: string;
    readonly suggestion?: string;
  }[];
}

export const problemOf = (answer: Answer): Problem => JSON.parse(answer.text) as Problem;

/** One request on a connection of its own, without the conveniences of fetch. */
export function send(url: string, options: RequestOptions & { readonly body?: string | Buffer } = {}): Promise<Answer> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { agent: false, ...rest }, (response) => {
      const chunks: Buffer[] = [];
      const { localPort } = response.socket;
      const finish = (complete: boolean) => {
        const all = Buffer.concat(chunks);
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: all,
          text: all.toString("utf8"),
          complete,
          localPort,
        });
      };
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => finish(response.complete));
      response.on("error", () => finish(false));
    });
    request.on("error", reject);
    request.end(body);
  });
}

export const sendJson = (url: string, body: unknown, options: RequestOptions = {}): Promise<Answer> =>
  send(url, {
    method: "POST",
    ...options,
    headers: { "content-type": "application/json", ...options.headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

/** The kept answer of `url` in `coding`, which is made behind earlier answers: asked for until it comes. */
export async function encodedAnswer(url: string, coding: string, options: RequestOptions = {}): Promise<Answer> {
  const headers = { ...options.headers, "accept-encoding": coding };
  const wanted = coding === "identity" ? undefined : coding;
  for (let i = 0; i < 3_000; i++) {
    const answer = await send(url, { ...options, headers });
    if (answer.headers["content-encoding"] === wanted) return answer;
    await pause(10);
  }
  throw new Error(`${url} does not come as ${coding}.`);
}

/** A connection on which any bytes can be sent. */
export async function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return socket;
}

/** Everything that arrives until the server closes. */
export function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("close", () => resolve(Buffer.concat(chunks).toString("latin1")));
  });
}
