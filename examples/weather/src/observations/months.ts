// Months: what the days of each add up to, rolled up in the background, because reading four years of days for a chart is slow for everybody.

import { type Endpoint, endpoint, keyset, page, sql, task } from "millrace";
import { type Static, Type } from "typebox";
import { requireCity } from "../cities/city.ts";
import { Day, Id } from "../schemas.ts";

const Month = Type.Object({
  month: Day,
  days: Type.Integer({ description: "How many days of it were measured" }),
  precipitationMm: Type.Number({ description: "All of it" }),
  tempMaxC: Type.Number({ description: "The highest" }),
  tempMinC: Type.Number({ description: "The lowest" }),
  windMps: Type.Number({ description: "On average" }),
});
type Month = Static<typeof Month>;

// #region roll-up
/** Rows that stay as they are are not written: answers that were read from them stay in the cache. */
export const rollUpMonths = task("roll-up-months", { schedule: "10 3 * * *", unique: true }, async ({ db, log }) => {
  const { rowCount } = await db.query(sql`
    insert into monthly_weather as m (city_id, month, days, precipitation_mm, temp_max_c, temp_min_c, wind_mps)
    select city_id, date_trunc('month', date)::date, count(*), round(sum(precipitation_mm)::numeric, 1), max(temp_max_c), min(temp_min_c),
           round(avg(wind_mps)::numeric, 2)
    from observations group by 1, 2
    on conflict (city_id, month) do update set
      (days, precipitation_mm, temp_max_c, temp_min_c, wind_mps)
        = (excluded.days, excluded.precipitation_mm, excluded.temp_max_c, excluded.temp_min_c, excluded.wind_mps)
    where (m.days, m.precipitation_mm, m.temp_max_c, m.temp_min_c, m.wind_mps)
      is distinct from (excluded.days, excluded.precipitation_mm, excluded.temp_max_c, excluded.temp_min_c, excluded.wind_mps)`);
  log.info({ months: rowCount }, "Months were rolled up.");
  return { months: rowCount };
});
// #endregion

const listMonths = endpoint(
  "GET /cities/:cityId/months",
  {
    summary: "Weather of a city by month, newest first",
    tags: ["observations"],
    params: { cityId: Id },
    query: keyset({ orderBy: ["month desc"], max: 100 }),
    response: page(Month),
  },
  async ({ params: { cityId }, query, db }) => {
    const months = await db.page(
      query,
      sql<Month>`
        select month::text, days, precipitation_mm as "precipitationMm", temp_max_c as "tempMaxC", temp_min_c as "tempMinC",
               wind_mps as "windMps"
        from monthly_weather where city_id = ${cityId}`,
    );
    if (months.data.length === 0) await requireCity(db, cityId);
    return months;
  },
);

export const monthEndpoints: readonly Endpoint[] = [listMonths];
