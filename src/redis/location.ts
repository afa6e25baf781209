// A Redis URL, read. Kept apart from the client's own reading: that one takes options from the query of a URL.

import { redisErrors } from "./errors.ts";

/** Where a server is and who connects. */
export interface RedisLocation {
  /** For messages: host and port, or the socket's path. */
  readonly server: string;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly path: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  readonly tls: boolean;
}

const decoded = (text: string): string | undefined => {
  if (text === "") return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: "has a user or password that is not percent-encoded" });
  }
};

const database = (text: string): number => {
  if (!/^\d{0,4}$/.test(text)) {
    throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: "has a database that is not a number" });
  }
  return Number(text);
};

/** @throws MILLRACE_REDIS_URL_INVALID */
export function readRedisUrl(text: string): RedisLocation {
  const url = URL.parse(text);
  if (!url) throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: "is not a URL" });
  const { protocol, searchParams } = url;
  if (protocol !== "redis:" && protocol !== "rediss:" && protocol !== "unix:") {
    throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: `begins with ${protocol.slice(0, 20)}//` });
  }
  const isSocket = protocol === "unix:";
  for (const parameter of searchParams.keys()) {
    if (!isSocket || parameter !== "db") {
      throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: "has parameters after a question mark that are not known" });
    }
  }
  const username = decoded(url.username);
  const password = decoded(url.password);
  if (isSocket) {
    const path = decoded(url.pathname);
    if (path === undefined) throw redisErrors.create("MILLRACE_REDIS_URL_INVALID", { reason: "has no path of a socket" });
    const db = database(searchParams.get("db") ?? "");
    return { server: path, host: undefined, port: undefined, path, username, password, db, tls: false };
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1";
  const port = url.port === "" ? 6379 : Number(url.port);
  const db = database(url.pathname.replace(/^\//, ""));
  const server = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return { server, host, port, path: undefined, username, password, db, tls: protocol === "rediss:" };
}
