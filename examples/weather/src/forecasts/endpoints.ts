// The forecast of a city, and those of several beside what people report there.

import { type Endpoint, cacheHeaders, endpoint, sql } from "millrace";
import { Type } from "typebox";
import { City, cityColumns, cityMissing } from "../cities/city.ts";
import { Id } from "../schemas.ts";
import { Forecast } from "./forecast.ts";
import { type Forecasts, present, unavailable } from "./forecasts.ts";
import type { ReadCounts } from "./reads.ts";
import { Overview, gatherOverview, mostCities, readCityIds } from "./overview.ts";

/** What is said of it holds for the moment at which it is said: nobody may keep it without asking again. */
const unkept = { "cache-control": "no-cache" };

export function forecastEndpoints(forecasts: Forecasts, reads?: ReadCounts): readonly Endpoint[] {
  // #region forecast
  const getForecast = endpoint(
    "GET /cities/:cityId/forecast",
    {
      summary: "The weather of a city for three days",
      tags: ["forecasts"],
      params: { cityId: Id },
      response: { 200: Forecast, 503: "The API that makes them does not answer, and there is no earlier forecast." },
      deadline: "5s",
      cache: false, // kept where it comes from: kept here too, its body could not say how old it is
    },
    async ({ params: { cityId }, db, signal, reply }) => {
      const city = await db.maybeOne(sql<City>`select ${cityColumns} from cities where id = ${cityId}`);
      if (!city) throw cityMissing(cityId);
      reads?.count(cityId);
      const outcome = await forecasts.read(city, { signal }).catch((error: unknown) => {
        throw unavailable(error);
      });
      reply.headers({ ...cacheHeaders("forecasts", outcome), ...unkept });
      return present(cityId, forecasts.source, outcome);
    },
  );
  // #endregion

  const getOverview = endpoint(
    "GET /forecasts",
    {
      summary: "The weather of several cities, and their latest reports",
      description: "What is not to be had in two seconds is left out, and `missing` says why.",
      tags: ["forecasts"],
      query: {
        cities: Type.String({ maxLength: 11 * mostCities, description: `1 to ${mostCities} ids, with commas between them` }),
      },
      response: Overview,
      deadline: "5s",
      cache: false, // as above
    },
    async ({ query, db, signal, reply }) => {
      const overview = await gatherOverview({ db, forecasts, signal }, readCityIds(query.cities));
      const ages = overview.data.flatMap(({ forecast }) => (forecast ? [forecast.ageSeconds] : []));
      reply.headers({ ...unkept, ...(ages.length > 0 && { age: String(Math.max(...ages)) }) }); // as old as the oldest part
      return overview;
    },
  );

  return [getForecast, getOverview];
}
