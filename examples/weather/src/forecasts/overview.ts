// Several cities at once: forecasts and latest reports are fetched side by side, in one group under one deadline. What is there by then is the
// answer; for the rest it says what is missing and why.

import { type Queryable, cacheErrors, concurrencyErrors, group, problem, sql, upstreamErrors } from "millrace";
import { type Static, Type } from "typebox";
import { City, cityColumns } from "../cities/city.ts";
import { Id, Timestamp } from "../schemas.ts";
import { Forecast } from "./forecast.ts";
import { type Forecasts, present } from "./forecasts.ts";

export const mostCities = 20;

/** For all of it. The endpoint's own is longer: it is there for what does not listen. */
const deadline = "2s";

/** Calls of the API for one client at once. */
const atOnce = 8;

const LatestReport = Type.Object({
  id: Id,
  text: Type.String(),
  temperature: Type.Union([Type.Number(), Type.Null()], { description: "°C" }),
  createdAt: Timestamp,
});
type LatestReport = Static<typeof LatestReport>;

const OneCity = Type.Object({
  city: City,
  forecast: Type.Union([Forecast, Type.Null()]),
  latestReport: Type.Union([LatestReport, Type.Null()], { description: "null: nobody has reported, or it is missing" }),
});
type OneCity = Static<typeof OneCity>;

const Reason = Type.Union(
  [Type.Literal("not-found"), Type.Literal("late"), Type.Literal("unavailable"), Type.Literal("busy"), Type.Literal("invalid")],
  {
    description:
      "not-found: no such city. late: not within the time for all. unavailable: the API fails. busy: too many wait for it. invalid: it answered with something else.",
  },
);
type Reason = Static<typeof Reason>;

const Missing = Type.Object({
  cityId: Id,
  part: Type.Union([Type.Literal("city"), Type.Literal("forecast"), Type.Literal("latestReport")]),
  reason: Reason,
});
type Missing = Static<typeof Missing>;

export const Overview = Type.Object({
  data: Type.Array(OneCity, { description: "In the order in which they were asked for" }),
  missing: Type.Array(Missing),
});
export type Overview = Static<typeof Overview>;

/** The ids in "1,2,3", each once. @throws a problem when it is anything else, or too many */
export function readCityIds(text: string): number[] {
  const ids = [...new Set(text.split(",").map((id) => (/^\d{1,10}$/.test(id) ? Number(id) : 0)))];
  if (ids.length > mostCities || !ids.every((id) => id >= 1 && id <= 2_147_483_647)) {
    const message = `must be 1 to ${mostCities} ids of cities with commas between them`;
    throw problem(400, "CITIES_INVALID", `The query's cities ${message}.`, { errors: [{ in: "query", field: "cities", message }] });
  }
  return ids;
}

/** What a client may know of a failure. Undefined: it is a fault of ours. */
function reasonOf(error: unknown): Reason | undefined {
  if (cacheErrors.is(error, "MILLRACE_CACHE_FILL_TIMEOUT") || upstreamErrors.is(error, "MILLRACE_UPSTREAM_TIMEOUT")) return "late";
  if (upstreamErrors.is(error, "MILLRACE_UPSTREAM_BUSY")) return "busy";
  if (upstreamErrors.is(error, "MILLRACE_UPSTREAM_RESPONSE_INVALID")) return "invalid";
  return upstreamErrors.is(error) ? "unavailable" : undefined;
}

export interface OverviewTools {
  readonly db: Queryable;
  readonly forecasts: Forecasts;
  readonly signal: AbortSignal;
}

// #region gather
export async function gatherOverview({ db, forecasts, signal }: OverviewTools, ids: readonly number[]): Promise<Overview> {
  let cities: ReadonlyMap<number, City> | undefined;
  const forecastOf = new Map<number, Forecast>();
  const failed = new Map<number, Reason>();
  let reports: ReadonlyMap<number, LatestReport> | undefined;
  const work = group(
    async (tasks) => {
      void tasks.start(async () => void (reports = await latestReports(db, ids)));
      const rows = await db.many(sql<City>`select ${cityColumns} from cities where id = any(${ids}::int[])`);
      cities = new Map(rows.map((city) => [city.id, city]));
      for (const city of rows) {
        void tasks.start(async (end) => {
          try {
            forecastOf.set(city.id, present(city.id, forecasts.source, await forecasts.read(city, { signal: end.signal })));
          } catch (error) {
            const reason = end.aborted ? undefined : reasonOf(error);
            if (reason === undefined) throw error;
            failed.set(city.id, reason);
          }
        });
      }
    },
    { deadline, limit: atOnce },
  );
  await work.catch((error: unknown) => {
    // The time is over: what is there is the answer. Unless nothing is, it is the request's own end, or something else failed.
    if (!cities || signal.aborted || !concurrencyErrors.is(error, "MILLRACE_DEADLINE_EXCEEDED")) throw error;
  });
  // #endregion
  const data: OneCity[] = [];
  const missing: Missing[] = [];
  for (const cityId of ids) {
    const city = cities?.get(cityId);
    if (!city) {
      missing.push({ cityId, part: "city", reason: "not-found" });
      continue;
    }
    const forecast = forecastOf.get(cityId) ?? null;
    if (!forecast) missing.push({ cityId, part: "forecast", reason: failed.get(cityId) ?? "late" });
    if (!reports) missing.push({ cityId, part: "latestReport", reason: "late" });
    data.push({ city, forecast, latestReport: reports?.get(cityId) ?? null });
  }
  return { data, missing };
}

/** By city, one statement for all. */
async function latestReports(db: Queryable, ids: readonly number[]): Promise<ReadonlyMap<number, LatestReport>> {
  const rows = await db.many(sql<LatestReport & { cityId: number }>`
    select latest.*, city_id as "cityId"
    from unnest(${ids}::int[]) as wanted (city_id)
    cross join lateral (
      select id, text, temperature, created_at as "createdAt" from reports
      where reports.city_id = wanted.city_id order by created_at desc, id desc limit 1) as latest`);
  return new Map(rows.map(({ cityId, ...report }) => [cityId, report]));
}
