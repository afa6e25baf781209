// A connection that becomes something else than HTTP (WebSocket and the like): the request goes on, and when the origin agrees, bytes
// flow both ways and nobody looks at them.

import { type IncomingMessage, type OutgoingHttpHeaders, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Fields } from "../http-caching/index.ts";

export interface TunnelParts {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** What the client sent behind its request already. */
  readonly head: Buffer;
  readonly origin: URL;
  /** The request's fields as the origin gets them. */
  readonly fields: Fields;
  readonly path: string;
}

const headOf = (answer: IncomingMessage, connection: string): string => {
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage ?? ""}`];
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    const name = answer.rawHeaders[i]!;
    if (!/^(?:connection|keep-alive|transfer-encoding)$/i.test(name)) lines.push(`${name}: ${answer.rawHeaders[i + 1]!}`);
  }
  return `${[...lines, `Connection: ${connection}`].join("\r\n")}\r\n\r\n`;
};

export function tunnel({ request, socket, head, origin, fields, path }: TunnelParts): void {
  const headers: OutgoingHttpHeaders = {};
  for (const name of fields.names()) {
    const lines = fields.lines(name);
    headers[name] = lines.length === 1 ? lines[0]! : [...lines];
  }
  const send = origin.protocol === "https:" ? httpsRequest : httpRequest;
  const outgoing = send(origin, {
    method: request.method ?? "GET",
    path: `${origin.pathname.replace(/\/+$/, "")}${path}`,
    headers: { ...headers, connection: "Upgrade", upgrade: request.headers.upgrade ?? "" },
    agent: false,
  });
  socket.once("close", () => outgoing.destroy());
  outgoing.once("upgrade", (answer, originSocket: Socket, originHead: Buffer) => {
    originSocket.on("error", () => socket.destroy());
    originSocket.once("close", () => socket.destroy());
    socket.once("close", () => originSocket.destroy());
    socket.write(headOf(answer, "Upgrade"), "latin1");
    if (originHead.byteLength > 0) socket.write(originHead);
    if (head.byteLength > 0) originSocket.write(head);
    originSocket.pipe(socket);
    socket.pipe(originSocket);
  });
  // The origin does not agree: its answer, and the end of the connection, which marks the end of the body.
  outgoing.once("response", (answer) => {
    socket.write(headOf(answer, "close"), "latin1");
    answer.pipe(socket);
  });
  outgoing.once("error", () => {
    if (!socket.destroyed) socket.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
  outgoing.end();
}
