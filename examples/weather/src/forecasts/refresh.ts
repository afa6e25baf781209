// Keeps the forecasts that most people ask for fresh, so that they find them ready.

import { mapConcurrent, sql, task } from "millrace";
import type { City } from "../cities/city.ts";
import type { Forecasts } from "./forecasts.ts";

const mostRead = 50;

/** From one run to the next, and the time that the next one takes. */
const untilNext = "6m";

/** Calls of the API at once, beside those of people. */
const atOnce = 4;

// #region refresh
export const refreshTask = (forecasts: Forecasts) =>
  task(
    "refresh-forecasts",
    { schedule: "*/5 * * * *", unique: true, timeout: "4m", retry: { attempts: 2 } },
    async ({ db, signal }) => {
      await db.query(sql`delete from city_reads where day < current_date - 7`);
      const cities = await db.many(sql<Pick<City, "latitude" | "longitude">>`
      select latitude, longitude from cities join (
        select city_id, sum(reads) as reads from city_reads where day >= current_date - 1 group by city_id order by reads desc limit ${mostRead}
      ) most on most.city_id = cities.id
      order by reads desc`);
      let failed = 0;
      // What ends before the next time is fetched. One that fails does not keep the others from theirs.
      await mapConcurrent(
        cities,
        async (city) => {
          const reason = await forecasts.read(city, { signal, freshFor: untilNext }).then(
            ({ state, reason }) => (state === "stale" ? reason : undefined),
            (error: Error) => error.message,
          );
          signal.throwIfAborted();
          if (reason === undefined) return;
          failed++;
          if (failed === cities.length) throw new Error(`No forecast could be had: ${reason}`);
        },
        { limit: atOnce, signal },
      );
      return { cities: cities.length, failed };
    },
  );
// #endregion
