// A server of node:http with a lane in front of it, or without: answers of both ways are the same bytes, so that only the counts tell them apart.

import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerOptions, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import type { FastAnswer, FastAnswers, FastRequest } from "../../../src/http/fast-lane/answers.ts";
import { FastLane, type FastLaneOptions } from "../../../src/http/fast-lane/fast-lane.ts";

export interface LaneServerOptions {
  /** Default true. */
  readonly lane?: boolean;
  /** Bodies that stand, by their target. Default: "/hit", and "/hit/<n>" for any n. */
  readonly stands?: (target: string) => Buffer | undefined;
  /** Answers what does not stand. Default: says what it has read. */
  readonly handler?: (request: IncomingMessage, response: ServerResponse) => void;
  readonly server?: ServerOptions;
  readonly check?: FastLaneOptions["check"];
  readonly answers?: FastAnswers;
}

const etag = '"one"';

export const hitBody = (target: string): Buffer | undefined =>
  /^\/hit(?:\/\d+)?$/.test(target) ? Buffer.from(JSON.stringify({ hit: target, padding: "x".repeat(200) })) : undefined;

/** Method, target, headers and body, as they were understood. Of "/early" before its body has come. */
export async function tellRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === "/early") {
    request.resume();
    response.writeHead(200, { "content-length": 5 });
    response.end("early");
    return;
  }
  const body = await text(request).catch(() => undefined);
  if (body === undefined) return; // the client has left
  const { method, url, rawHeaders, httpVersion } = request;
  const answer = JSON.stringify({ method, url, httpVersion, rawHeaders, body });
  response.writeHead(200, { "content-length": Buffer.byteLength(answer) });
  response.end(answer);
}

/** Exactly what node writes for writeStanding(). */
class Standing implements FastAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly #head: Buffer;
  readonly #reports: boolean[];

  constructor(status: number, body: Buffer, keepAliveSeconds: number, reports: boolean[]) {
    this.status = status;
    this.body = body;
    const length = status === 304 ? "" : `content-length: ${body.length}\r\n`;
    const line = status === 304 ? "304 Not Modified" : "200 OK";
    this.#head = Buffer.from(
      `HTTP/1.1 ${line}\r\netag: ${etag}\r\n${length}Connection: keep-alive\r\nKeep-Alive: timeout=${keepAliveSeconds}\r\n\r\n`,
    );
    this.#reports = reports;
  }

  get headBytes(): number {
    return this.#head.length;
  }

  copyHead(into: Buffer, at: number): number {
    return at + this.#head.copy(into, at);
  }

  sent(complete: boolean): void {
    this.#reports.push(complete);
  }
}

function writeStanding(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  response.sendDate = false;
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, { etag });
    response.end();
    return;
  }
  response.writeHead(200, { etag, "content-length": body.length });
  response.end(body);
}

/** Listens on a free port of loopback. */
export async function laneServer({
  lane: withLane = true,
  stands = hitBody,
  handler = (request, response) => void tellRequest(request, response),
  server: serverOptions = {},
  check,
  answers,
}: LaneServerOptions = {}) {
  const reports: boolean[] = [];
  const warnings: { readonly reason: string; readonly error: unknown }[] = [];
  let byNode = 0;
  let lane: FastLane | undefined;
  const server: Server = createServer(serverOptions, (request, response) => {
    byNode++;
    response.sendDate = false;
    const body = request.method === "GET" && request.headers["x-unknown"] === undefined ? stands(request.url!) : undefined;
    if (body === undefined) return handler(request, response);
    lane?.invite(request);
    writeStanding(request, response, body);
  });
  if (withLane) {
    lane = new FastLane({
      server,
      maxHeaderBytes: 16 * 1_024,
      warn: (reason, error) => warnings.push({ reason, error }),
      answers: answers ?? {
        find(request: FastRequest) {
          const body = stands(request.target);
          if (body === undefined) return undefined;
          const matches = request.ifNoneMatch === etag;
          return new Standing(matches ? 304 : 200, matches ? Buffer.alloc(0) : body, server.keepAliveTimeout / 1_000, reports);
        },
      },
      ...(check && { check }),
    });
    await lane.ready;
  }
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    server,
    lane: lane!,
    /** Server sides of the connections, in the order in which they came. */
    sockets,
    /** What was said of the lane's answers. */
    reports,
    warnings,
    get byNode() {
      return byNode;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
