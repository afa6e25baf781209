// node:http and COPY of row_to_json, passed through: JSON made by PostgreSQL. The CSV form leaves JSON's backslashes alone.

import { type ServerResponse, createServer } from "node:http";
import pg from "pg";
import { to } from "pg-copy-streams";

const [url, port] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: url!, max: 4 });
const copy = String.raw`copy (select row_to_json(o) from (select * from observations) as o) to stdout (format csv, quote e'\x01', delimiter e'\x02')`;

async function answer(response: ServerResponse): Promise<void> {
  const client = await pool.connect();
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  const stream = client.query(to(copy));
  stream.on("end", () => client.release());
  stream.pipe(response);
}

createServer((_, response) => void answer(response)).listen(Number(port), "127.0.0.1");
