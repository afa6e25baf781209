// Request ids: the client's own when it has the form of one, else short, unique across processes, and cheap.

import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** UUIDs, ULIDs, trace ids and our own; nothing that could break a log line or a header. */
const acceptable = /^[A-Za-z0-9][A-Za-z0-9._~+/=-]{7,127}$/;

/** 60 bits of chance per process, then a counter: two processes would have to draw the same. */
let prefix: string | undefined;
let counter = 0;

export function newRequestId(): string {
  prefix ??= randomBytes(8).toString("base64url").replaceAll(/[-_]/g, "0").slice(0, 10);
  return `${prefix}-${(counter++).toString(36)}`;
}

export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && acceptable.test(given) ? given : newRequestId();
}
