// /healthz: the process lives. /readyz: it should get traffic. See docs/health-and-drain.md.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Deadline } from "../concurrency/index.ts";
import { type Database, sql } from "../database/index.ts";
import { Exchange } from "./exchange.ts";
import { type Kit, setCommonHeaders } from "./kit.ts";

/** Probes usually give up after one second themselves. */
const databaseTimeoutMs = 1_000;

/** Asks the database for a sign of life. Concurrent callers share one question. */
export function createDatabaseProbe(database: Database): () => Promise<boolean> {
  let asking: Promise<boolean> | undefined;
  const ask = async (): Promise<boolean> => {
    using deadline = new Deadline({ timeoutMs: databaseTimeoutMs });
    try {
      await database.query(sql`select 1`, { signal: deadline });
      return true;
    } catch {
      return false;
    }
  };
  return () =>
    (asking ??= ask().finally(() => {
      asking = undefined;
    }));
}

function answer(kit: Kit, request: FastifyRequest, reply: FastifyReply, status: number, body: object): void {
  setCommonHeaders(kit, reply, request.id);
  reply.header("cache-control", "no-store").header("content-type", "application/json; charset=utf-8");
  if (status === 503) reply.header("retry-after", "1");
  reply.code(status).send(JSON.stringify(body));
}

/** Serves both. Neither needs credentials, and neither is logged at level info. */
export function serveHealth(fastify: FastifyInstance, kit: Kit): void {
  const quietly = (request: FastifyRequest, reply: FastifyReply): void => {
    new Exchange(kit, undefined, request, reply).quiet = true;
  };
  const probe = kit.database && createDatabaseProbe(kit.database);

  fastify.get("/healthz", (request, reply) => {
    quietly(request, reply);
    answer(kit, request, reply, 200, { status: "alive" });
  });
  fastify.get("/readyz", (request, reply) => {
    quietly(request, reply);
    if (kit.draining) return answer(kit, request, reply, 503, { status: "draining" });
    if (!probe) return answer(kit, request, reply, 200, { status: "ready" });
    void probe().then((answers) => {
      if (kit.draining) answer(kit, request, reply, 503, { status: "draining" });
      else
        answer(kit, request, reply, answers ? 200 : 503, {
          status: answers ? "ready" : "unavailable",
          database: answers ? "answers" : "does not answer",
        });
    });
  });
}
