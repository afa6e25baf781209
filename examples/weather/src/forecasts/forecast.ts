// What a forecast looks like, and what the service knows of one that it has fetched.

import { type Static, Type } from "typebox";
import { Id, Timestamp } from "../schemas.ts";

const Measure = (unit: string) => Type.Union([Type.Number(), Type.Null()], { description: `${unit}; null where there is none` });

export const ForecastHour = Type.Object({
  time: Timestamp,
  temperatureC: Measure("°C"),
  pressureHpa: Measure("hPa"),
  windMps: Measure("m/s"),
});
export type ForecastHour = Static<typeof ForecastHour>;

export const Forecast = Type.Object({
  cityId: Id,
  source: Type.String({ description: "Who made it: simulator, or the host of the API" }),
  fetchedAt: Timestamp,
  ageSeconds: Type.Integer({ description: "How long ago that was, as in the header Age" }),
  state: Type.Union([Type.Literal("fresh"), Type.Literal("stale")], {
    description: "stale: a newer one could not be had, or not yet",
  }),
  timezone: Type.String(),
  utcOffsetSeconds: Type.Integer({ description: "What the clocks of the city are ahead of UTC" }),
  hours: Type.Array(ForecastHour, { description: "From the beginning of the city's day" }),
});
export type Forecast = Static<typeof Forecast>;

/** What is kept of an answer of the API. */
export interface FetchedForecast extends Pick<Forecast, "timezone" | "utcOffsetSeconds" | "hours"> {
  readonly fetchedAt: Date;
}
