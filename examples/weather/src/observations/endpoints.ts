// What was measured in a city, the hourly normals, and the export of all measurements.

import { bytes, endpoint, keyset, page, sql } from "millrace";
import { Type } from "typebox";
import { requireCity } from "../cities/city.ts";
import { Day, Id } from "../schemas.ts";
import { HourlyNormal, Observation, observationColumns } from "./observation.ts";

const listObservations = endpoint(
  "GET /cities/:cityId/observations",
  {
    summary: "Daily weather of a city, newest first",
    tags: ["observations"],
    params: { cityId: Id },
    query: {
      ...keyset({ orderBy: ["date desc"], max: 100 }),
      from: Type.Optional(Day),
      to: Type.Optional(Day),
    },
    response: page(Observation),
  },
  async ({ params: { cityId }, query, db }) => {
    const from = query.from === undefined ? sql.empty : sql`and date >= ${query.from}`;
    const to = query.to === undefined ? sql.empty : sql`and date <= ${query.to}`;
    const observations = await db.page(
      query,
      sql<Observation>`select ${observationColumns} from observations where city_id = ${cityId} ${from} ${to}`,
    );
    if (observations.data.length === 0) await requireCity(db, cityId);
    return observations;
  },
);

const listNormals = endpoint(
  "GET /cities/:cityId/normals",
  {
    summary: "Hourly normals of a city through the year",
    tags: ["observations"],
    params: { cityId: Id },
    query: keyset({ orderBy: ["month", "day", "hour"], max: 100 }),
    response: page(HourlyNormal),
  },
  async ({ params: { cityId }, query, db }) => {
    const normals = await db.page(
      query,
      sql<HourlyNormal>`
        select month, day, hour, pressure_hpa as "pressureHpa", temperature_c as "temperatureC", wind_mps as "windMps"
        from hourly_normals where city_id = ${cityId}`,
    );
    if (normals.data.length === 0) await requireCity(db, cityId);
    return normals;
  },
);

const exportObservations = endpoint(
  "GET /observations/export",
  {
    summary: "All daily weather as a stream",
    tags: ["observations"],
    query: {
      format: Type.Optional(Type.Union([Type.Literal("ndjson"), Type.Literal("json"), Type.Literal("csv")])),
      cityId: Type.Optional(Id),
    },
    // However long the client takes to read: what it does not read is not read from the database either.
    deadline: "none",
    response: bytes("application/x-ndjson", "application/json", "text/csv"),
  },
  async ({ query: { format = "ndjson", cityId }, db, reply }) => {
    if (cityId !== undefined) await requireCity(db, cityId);
    const inCity = cityId === undefined ? sql.empty : sql`where city_id = ${cityId}`;
    reply.header("content-disposition", `attachment; filename="observations.${format}"`);
    return db.export(
      sql`
        select city_id as "cityId", name as city, ${observationColumns}
        from observations join cities on cities.id = city_id ${inCity}
        order by city_id, date`,
      { format },
    );
  },
);

export const observationEndpoints = [listObservations, listNormals, exportObservations];
