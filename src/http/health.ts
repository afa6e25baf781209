// /healthz: the process lives. /readyz: it should get traffic. See docs/health-and-drain.md.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Deadline } from "../concurrency/index.ts";
import { type Database, sql } from "../database/index.ts";
import { Exchange } from "./exchange.ts";
import type { Kit } from "./kit.ts";

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

function answer(exchange: Exchange, status: number, body: object): void {
  exchange.answer();
  const { reply } = exchange;
  reply.header("cache-control", "no-store").header("content-type", "application/json; charset=utf-8");
  if (status === 503) reply.header("retry-after", "1");
  reply.code(status).send(JSON.stringify(body));
}

/** Serves both. Neither needs credentials, and neither is logged at level info. */
export function serveHealth(fastify: FastifyInstance, kit: Kit): void {
  const quietly = (request: FastifyRequest, reply: FastifyReply): Exchange => {
    const exchange = new Exchange(kit, undefined, request, reply);
    exchange.quiet = true;
    return exchange;
  };
  const probe = kit.database && createDatabaseProbe(kit.database);

  fastify.get("/healthz", (request, reply) => {
    answer(quietly(request, reply), 200, { status: "alive" });
  });
  fastify.get("/readyz", (request, reply) => {
    const exchange = quietly(request, reply);
    if (kit.draining) return answer(exchange, 503, { status: "draining" });
    if (!probe) return answer(exchange, 200, { status: "ready" });
    void probe().then((answers) => {
      if (kit.draining) answer(exchange, 503, { status: "draining" });
      else
        answer(exchange, answers ? 200 : 503, {
          status: answers ? "ready" : "unavailable",
          database: answers ? "answers" : "does not answer",
        });
    });
  });
}
