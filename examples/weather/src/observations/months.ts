// Months: what the days of each add up to, rolled up in the background, because reading four years of days for a chart is slow for everybody.
// Whoever changes days says so in the same transaction; a schedule goes over all of them at night, for whoever did not.

import { type Endpoint, type Sql, type Transaction, endpoint, keyset, page, sql, task } from "millrace";
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

/** Which months: those whose days have changed since, or every one, whoever changed what. */
const Months = Type.Object({ months: Type.Union([Type.Literal("changed"), Type.Literal("all")]) });

// #region roll-up
/** Rows that stay as they are are not written: answers that were read from them stay in the cache. */
export const rollUpMonths = task(
  "roll-up-months",
  {
    input: Months,
    migrate: () => ({ months: "all" as const }), // tasks of the version that had no input
    schedule: { cron: "10 3 * * *", input: { months: "all" } },
    unique: { until: "started" }, // what changes while one runs is for the next
    concurrencyPer: { max: 1 },
    timeout: "10m",
  },
  async ({ input: { months }, db, log }) => {
    const rolledUp = await db.transaction(async (tx) => {
      // Whoever is changing days of these months is waited for here; the days are read by the next statement, which sees them.
      const changed = await tx.many(sql<{ cityId: number; month: string }>`
        delete from months_to_roll_up
        where (city_id, month) in (select city_id, month from months_to_roll_up order by city_id, month for update)
        returning city_id as "cityId", month::text`);
      const days =
        months === "all"
          ? sql`observations`
          : sql`unnest(${changed.map(({ cityId }) => cityId)}::int[], ${changed.map(({ month }) => month)}::date[]) as changed (city_id, month)
              join observations using (city_id)
              where date >= changed.month and date < changed.month + interval '1 month'`;
      const { rowCount } = await tx.query(sql`
        insert into monthly_weather as m (city_id, month, days, precipitation_mm, temp_max_c, temp_min_c, wind_mps)
        select city_id, date_trunc('month', date)::date, count(*), round(sum(precipitation_mm)::numeric, 1), max(temp_max_c), min(temp_min_c),
               round(avg(wind_mps)::numeric, 2)
        from ${days} group by 1, 2
        on conflict (city_id, month) do update set
          (days, precipitation_mm, temp_max_c, temp_min_c, wind_mps)
            = (excluded.days, excluded.precipitation_mm, excluded.temp_max_c, excluded.temp_min_c, excluded.wind_mps)
        where (m.days, m.precipitation_mm, m.temp_max_c, m.temp_min_c, m.wind_mps)
          is distinct from (excluded.days, excluded.precipitation_mm, excluded.temp_max_c, excluded.temp_min_c, excluded.wind_mps)`);
      return rowCount ?? 0;
    });
    log.info({ months: rolledUp }, "Months were rolled up.");
    return { months: rolledUp };
  },
);

/**
 * Has the months of changed days rolled up soon, if `tx` commits. `changed` has the columns city_id and date. Several share a task that
 * has not begun; one that runs waits for `tx`, or is followed by another.
 */
export async function rollUpSoon(tx: Transaction, changed: Sql): Promise<void> {
  const { rowCount } = await tx.query(sql`
    insert into months_to_roll_up select distinct city_id, date_trunc('month', date)::date as month from ${changed} order by 1, 2
    on conflict (city_id, month) do update set month = excluded.month`);
  if (rowCount! > 0) await rollUpMonths.enqueue({ months: "changed" }, { in: tx });
}
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
