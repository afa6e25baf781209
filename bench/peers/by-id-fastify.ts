// Fastify and a Pool of 16, as commonly assembled: unnamed statements.

import Fastify from "fastify";
import pg from "pg";

const [url, port] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: url!, max: 16 });
const app = Fastify({ logger: { level: "warn" } });

app.get<{ Params: { id: string } }>("/cities/:id", async (request, reply) => {
  const { rows } = await pool.query("select id, name, country, latitude, longitude, population from cities where id = $1", [
    Number(request.params.id),
  ]);
  if (rows.length === 0) return reply.code(404).send({ error: "not found" });
  return rows[0] as unknown;
});
await app.listen({ port: Number(port), host: "127.0.0.1" });
