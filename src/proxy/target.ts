// What a request asks for: the URL as the client sees it, which is the name of its answer, and the path that the origin is asked for.

import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";

export interface Target {
  /** Absolute: scheme, host and path. Answers are stored under it. */
  readonly url: string;
  /** Host and port as the client named them. */
  readonly host: string;
  readonly scheme: "http" | "https";
  /** Path and query, or "*". */
  readonly path: string;
}

const authority = /^(?:\[[\da-fA-F:.]+\]|[\w.~!$&'()*+,;=%-]+)(?::\d{1,5})?$/;

/** Undefined: the request does not say which host it means, or says it twice (RFC 9112 § 3.2). */
export function targetOf(request: IncomingMessage): Target | undefined {
  const scheme = (request.socket as Partial<TLSSocket>).encrypted ? "https" : "http";
  const hosts = request.headersDistinct["host"] ?? [];
  let host = hosts[0];
  let path = request.url ?? "";
  if (hosts.length > 1) return undefined;
  if (!path.startsWith("/") && path !== "*") {
    // The absolute form: its host counts, not the field's.
    const match = /^https?:\/\/([^/?#]*)([^#]*)$/i.exec(path);
    if (!match) return undefined;
    host = match[1];
    path = match[2]!.startsWith("/") ? match[2]! : `/${match[2]!}`;
  }
  // A request of HTTP/1.0 need not name one.
  host ??= request.httpVersion === "1.0" ? "unnamed" : undefined;
  if (host === undefined || !authority.test(host) || path.includes("#")) return undefined;
  const lower = host.toLowerCase();
  return { url: `${scheme}://${lower}${path === "*" ? "/*" : path}`, host: lower, scheme, path };
}
