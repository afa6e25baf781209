// Millrace with its defaults, as in examples/weather.

import { Type } from "typebox";
import { createApp, createDatabase, endpoint, problem, sql } from "../../src/index.ts";

const [url, port] = process.argv.slice(2);
const database = await createDatabase({ url });

interface City {
  readonly id: number;
  readonly name: string;
  readonly country: string;
  readonly latitude: number;
  readonly longitude: number;
  readonly population: number;
}

const getCity = endpoint("GET /cities/:id", { params: { id: Type.Integer() } }, async ({ params, db }) => {
  const city = await db.maybeOne(
    sql<City>`select id, name, country, latitude, longitude, population from cities where id = ${params.id}`,
  );
  if (!city) throw problem(404, "CITY_NOT_FOUND", "There is no such city.");
  return city;
});

const app = createApp({ endpoints: [getCity], database, logger: { level: "warn" }, drainDelay: "0s" });
await app.listen({ port: Number(port), host: "127.0.0.1" });
