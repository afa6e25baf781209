// What was measured on a day, and what an hour of the year is usually like.

import { sql } from "millrace";
import { type Static, Type } from "typebox";
import { Day } from "../schemas.ts";

export const Observation = Type.Object({
  date: Day,
  precipitationMm: Type.Number(),
  tempMaxC: Type.Number(),
  tempMinC: Type.Number(),
  windMps: Type.Number(),
  weather: Type.String({ description: "drizzle, fog, rain, snow or sun" }),
});
export type Observation = Static<typeof Observation>;

export const observationColumns = sql`date, precipitation_mm as "precipitationMm", temp_max_c as "tempMaxC", temp_min_c as "tempMinC", wind_mps as "windMps", weather`;

export const HourlyNormal = Type.Object({
  month: Type.Integer(),
  day: Type.Integer(),
  hour: Type.Integer({ description: "Local standard time" }),
  pressureHpa: Type.Number(),
  temperatureC: Type.Number(),
  windMps: Type.Number(),
});
export type HourlyNormal = Static<typeof HourlyNormal>;
