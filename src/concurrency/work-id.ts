// Names for pieces of work: short, unique across processes, and cheap. Requests, groups outside of requests and tasks use them.

import { randomBytes } from "node:crypto";

/** 60 bits of chance per process, then a counter: two processes would have to draw the same. */
let prefix: string | undefined;
let counter = 0;

/** A new id, such as `f3Qx0yVb1K-2s`: letters, digits and a hyphen. */
export function newWorkId(): string {
  prefix ??= randomBytes(8).toString("base64url").replaceAll(/[-_]/g, "0").slice(0, 10);
  return `${prefix}-${(counter++).toString(36)}`;
}
