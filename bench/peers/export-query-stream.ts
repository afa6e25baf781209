// Fastify, pg-query-stream and JSON.stringify: how Node services usually stream rows.

import { Readable } from "node:stream";
import Fastify from "fastify";
import pg from "pg";
import QueryStream from "pg-query-stream";

const [url, port] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: url!, max: 4 });
const app = Fastify({ logger: { level: "warn" } });

app.get("/export", async (_, reply) => {
  const client = await pool.connect();
  const rows = client.query(new QueryStream("select * from observations", [], { batchSize: 1000 }));
  rows.on("close", () => client.release());
  async function* lines() {
    for await (const row of rows) yield `${JSON.stringify(row)}\n`;
  }
  return reply.type("application/x-ndjson").send(Readable.from(lines(), { objectMode: false }));
});
await app.listen({ port: Number(port), host: "127.0.0.1" });
