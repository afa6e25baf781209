// Four years of daily weather in Seattle and New York, and the hourly normals of Seattle, as NOAA measured them.

import { sql } from "millrace";
import { column, readCsv } from "./csv.ts";
import type { DataSet } from "./seed.ts";

/** The ids of GeoNames for the places that the files name. */
const cityIds: Readonly<Record<string, number>> = { Seattle: 5809844, "New York": 5128581 };

export const observations: DataSet = {
  name: "observations",
  async load(tx, onProgress) {
    const lines = await readCsv("weather-seattle-newyork-daily.csv");
    await tx.query(sql`
      insert into observations (city_id, date, precipitation_mm, temp_max_c, temp_min_c, wind_mps, weather)
      select * from unnest(
        ${column(lines, 0).map((name) => cityIds[name]!)}::int[],
        ${column(lines, 1)}::date[],
        ${column(lines, 2)}::float8[],
        ${column(lines, 3)}::float8[],
        ${column(lines, 4)}::float8[],
        ${column(lines, 5)}::float8[],
        ${column(lines, 6)}::text[])`);
    // The program rolls them up when it is up: see main.ts.
    await tx.query(sql`
      insert into months_to_roll_up select distinct city_id, date_trunc('month', date)::date from observations on conflict do nothing`);
    await tx.query(sql`analyze observations`);
    onProgress(lines.length, lines.length);
    return lines.length;
  },
};

export const hourlyNormals: DataSet = {
  name: "hourly normals",
  async load(tx, onProgress) {
    const lines = await readCsv("seattle-weather-hourly-normals.csv");
    await tx.query(sql`
      insert into hourly_normals (city_id, month, day, hour, pressure_hpa, temperature_c, wind_mps)
      select ${cityIds["Seattle"]}, extract(month from at), extract(day from at), extract(hour from at), pressure, temperature, wind
      from unnest(
        ${column(lines, 0)}::timestamp[],
        ${column(lines, 1)}::float8[],
        ${column(lines, 2)}::float8[],
        ${column(lines, 3)}::float8[]) as normal (at, pressure, temperature, wind)`);
    await tx.query(sql`analyze hourly_normals`);
    onProgress(lines.length, lines.length);
    return lines.length;
  },
};
