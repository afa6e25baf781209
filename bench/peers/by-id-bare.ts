// node:http and a Pool of 16 with a named prepared statement: the least that can be done with pg.

import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import pg from "pg";

const [url, port] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: url!, max: 16 });

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const id = Number(request.url!.slice("/cities/".length));
  try {
    const { rows } = await pool.query({
      name: "city",
      text: "select id, name, country, latitude, longitude, population from cities where id = $1",
      values: [id],
    });
    const body = JSON.stringify(rows[0]);
    response.writeHead(200, { "content-type": "application/json; charset=utf-8", "content-length": Buffer.byteLength(body) });
    response.end(body);
  } catch {
    response.writeHead(500);
    response.end();
  }
}

createServer((request, response) => void answer(request, response)).listen(Number(port), "127.0.0.1");
