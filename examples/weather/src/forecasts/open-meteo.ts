// The Open-Meteo API as this service uses it (https://open-meteo.com/en/docs): what is asked, and what the answer must look like.

import type { Upstream } from "millrace";
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import type { FetchedForecast } from "./forecast.ts";

const days = 3;

const Values = Type.Array(Type.Union([Type.Number(), Type.Null()]), { maxItems: days * 25 });

const Answer = Compile(
  Type.Object({
    timezone: Type.String({ maxLength: 100 }),
    utc_offset_seconds: Type.Integer(),
    hourly: Type.Object({
      time: Type.Array(Type.Integer(), { minItems: 1, maxItems: days * 25 }),
      temperature_2m: Values,
      pressure_msl: Values,
      wind_speed_10m: Values,
    }),
  }),
);

export interface Place {
  readonly latitude: number;
  readonly longitude: number;
}

/** Asks for the hours of three days, from the last midnight there. @throws as Upstream.json() does */
export async function fetchForecast(upstream: Upstream, { latitude, longitude }: Place): Promise<FetchedForecast> {
  const query = {
    latitude,
    longitude,
    hourly: "temperature_2m,pressure_msl,wind_speed_10m",
    wind_speed_unit: "ms",
    timeformat: "unixtime",
    timezone: "auto",
    forecast_days: days,
  };
  const { timezone, utc_offset_seconds, hourly } = await upstream.json({ path: "/v1/forecast", query }, Answer);
  return {
    fetchedAt: new Date(),
    timezone,
    utcOffsetSeconds: utc_offset_seconds,
    hours: hourly.time.map((seconds, i) => ({
      time: new Date(seconds * 1_000),
      temperatureC: hourly.temperature_2m[i] ?? null,
      pressureHpa: hourly.pressure_msl[i] ?? null,
      windMps: hourly.wind_speed_10m[i] ?? null,
    })),
  };
}
