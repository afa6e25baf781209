// Millrace with its defaults: the handler returns db.export.

import { createApp, createDatabase, endpoint, sql } from "../../src/index.ts";

const [url, port] = process.argv.slice(2);
const database = await createDatabase({ url });

const exportObservations = endpoint("GET /export", { deadline: "5m" }, () =>
  database.export(sql`select * from observations`, { format: "ndjson" }),
);

const app = createApp({ endpoints: [exportObservations], database, logger: { level: "warn" }, drainDelay: "0s" });
await app.listen({ port: Number(port), host: "127.0.0.1" });
