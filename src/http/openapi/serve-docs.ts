// Serves /openapi.json, /docs and /docs/problems. All three are built at their first request and kept.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { cacheErrors } from "../../cache/index.ts";
import { concurrencyErrors } from "../../concurrency/index.ts";
import { coreErrors } from "../../core/index.ts";
import { databaseErrors } from "../../database/index.ts";
import { encodeNow } from "../compression/encode.ts";
import { negotiateCoding } from "../compression/negotiate.ts";
import type { Endpoint } from "../endpoint.ts";
import { httpErrors } from "../errors.ts";
import { Exchange } from "../exchange.ts";
import type { Kit } from "../kit.ts";
import { problemTable } from "../problem-table.ts";
import { type Page, type ProblemEntry, docsPage, problemsPage } from "./docs-page.ts";
import { openApiDocument } from "./document.ts";

interface DocsOptions {
  readonly endpoints: readonly Endpoint[];
  readonly title: string;
  readonly version: string;
}

/** Every code that the kit answers with, by status. */
function problemEntries(): ProblemEntry[] {
  const table = {
    ...coreErrors.table,
    ...concurrencyErrors.table,
    ...databaseErrors.table,
    ...cacheErrors.table,
    ...httpErrors.table,
  };
  return Object.entries(problemTable)
    .flatMap(([code, { status }]) => {
      const row = (table as Readonly<Record<string, { when: string; next: string }>>)[code];
      return row ? [{ code, status, when: row.when, next: row.next }] : [];
    })
    .toSorted((a, b) => a.status - b.status);
}

interface Prepared {
  readonly body: Buffer;
  readonly encoded: Map<string, Buffer>;
  readonly headers: Readonly<Record<string, string>>;
}

const prepare = (text: string, headers: Readonly<Record<string, string>>): Prepared => ({
  body: Buffer.from(text),
  encoded: new Map(),
  headers,
});

const preparePage = ({ html, contentSecurityPolicy }: Page): Prepared =>
  prepare(html, { "content-type": "text/html; charset=utf-8", "content-security-policy": contentSecurityPolicy });

/** Each page is encoded once per coding: five buffers at the most. */
function send(kit: Kit, request: FastifyRequest, reply: FastifyReply, prepared: Prepared): void {
  const exchange = new Exchange(kit, undefined, request, reply);
  const { coding } = negotiateCoding(request.headers["accept-encoding"]);
  let { body } = prepared;
  if (coding !== "identity") {
    const kept = prepared.encoded.get(coding);
    body = kept ?? encodeNow(coding, prepared.body);
    prepared.encoded.set(coding, body);
    reply.header("content-encoding", coding);
  }
  exchange.sent = body;
  reply.headers(prepared.headers).header("vary", "accept-encoding").header("cache-control", "no-cache");
  exchange.answer();
  reply.send(body);
}

export function serveDocs(fastify: FastifyInstance, kit: Kit, options: DocsOptions): void {
  const { title, version, endpoints } = options;
  const base = fastify.prefix;
  const serveOnce = (path: string, build: () => Prepared): void => {
    let prepared: Prepared | undefined;
    fastify.get(path, (request, reply) => send(kit, request, reply, (prepared ??= build())));
  };
  serveOnce("/openapi.json", () =>
    prepare(
      JSON.stringify(openApiDocument(endpoints, { title, version }, { prefix: base, cached: kit.responseCache !== undefined })),
      {
        "content-type": "application/json; charset=utf-8",
      },
    ),
  );
  serveOnce("/docs", () => preparePage(docsPage(title, version, base)));
  serveOnce("/docs/problems", () => preparePage(problemsPage(title, problemEntries(), base)));
}
