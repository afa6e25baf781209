// A stand-in for the Open-Meteo API (https://open-meteo.com/en/docs), so that the service has forecasts without a network and its troubles can
// be had on demand: as much of GET /v1/forecast as the service asks for, and PUT /admin/weather, which makes it slow, faulty or dead.
// It listens on the loopback address only, whatever HOST says.

import { setTimeout as delay } from "node:timers/promises";
import { type Closeable, createApp, endpoint, problem } from "millrace";
import { type Static, Type } from "typebox";
import { type Climate, type Weather, loadClimate } from "./climate.ts";

/** What is wrong with it. */
const Trouble = Type.Object({
  latencyMs: Type.Integer({ minimum: 0, maximum: 60_000, default: 0, description: "How much longer each answer takes" }),
  errorRatio: Type.Number({ minimum: 0, maximum: 1, default: 0, description: "Share of answers that are a 503" }),
  outage: Type.Boolean({ default: false, description: "Whether it breaks every connection instead of answering" }),
});
export type Trouble = Static<typeof Trouble>;

const none: Trouble = { latencyMs: 0, errorRatio: 0, outage: false };

export interface Simulator extends Closeable {
  /** Where it answers, such as http://127.0.0.1:41234. */
  readonly url: string;
  /** Forecasts that were asked for so far, and those that were given up by who asked. */
  readonly counts: { readonly asked: number; readonly left: number };
  /** As PUT /admin/weather: what is not named is as it should be. */
  disturb(trouble: Partial<Trouble>): void;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

interface Variable {
  readonly unit: string;
  value(weather: Weather): number;
}

const inKmh = (mps: number): number => Math.round(mps * 36) / 10;

/** By the names and in the units of Open-Meteo. */
const variablesIn = (windUnit: "kmh" | "ms"): Readonly<Record<string, Variable>> => ({
  temperature_2m: { unit: "°C", value: ({ temperatureC }) => temperatureC },
  pressure_msl: { unit: "hPa", value: ({ pressureHpa }) => pressureHpa },
  wind_speed_10m: {
    unit: windUnit === "ms" ? "m/s" : "km/h",
    value: ({ windMps }) => (windUnit === "ms" ? windMps : inKmh(windMps)),
  },
});

const Query = {
  latitude: Type.Number({ minimum: -90, maximum: 90 }),
  longitude: Type.Number({ minimum: -180, maximum: 180 }),
  hourly: Type.String({ default: "", description: "Variables, with commas between them" }),
  forecast_days: Type.Integer({ minimum: 1, maximum: 16, default: 7 }),
  timezone: Type.Union([Type.Literal("GMT"), Type.Literal("auto")], { default: "GMT" }),
  timeformat: Type.Union([Type.Literal("iso8601"), Type.Literal("unixtime")], { default: "iso8601" }),
  wind_speed_unit: Type.Union([Type.Literal("kmh"), Type.Literal("ms")], { default: "kmh" }),
};
const Question = Type.Object(Query);
type Question = Static<typeof Question>;

/** Zones by the sun: the real API knows those that people have made. */
function zoneOf(longitude: number): { readonly name: string; readonly hours: number } {
  const hours = Math.round(longitude / 15);
  return { name: hours === 0 ? "GMT" : `Etc/GMT${hours > 0 ? "-" : "+"}${Math.abs(hours)}`, hours }; // POSIX counts to the west
}

function answer(climate: Climate, question: Question, nowMs: number): Record<string, unknown> {
  const startedMs = performance.now();
  const { latitude, longitude } = question;
  const names = question.hourly.split(",").filter((name) => name !== "");
  const variables = variablesIn(question.wind_speed_unit);
  const unknown = names.find((name) => !Object.hasOwn(variables, name));
  if (unknown !== undefined) {
    throw problem(400, "VARIABLE_UNKNOWN", `The simulator has ${Object.keys(variables).join(", ")}, and no ${unknown}.`);
  }
  const solar = zoneOf(longitude);
  const zone = question.timezone === "auto" ? solar : zoneOf(0);
  // Begins at midnight there.
  const firstMs = Math.floor((nowMs + zone.hours * hourMs) / dayMs) * dayMs - zone.hours * hourMs;
  const times = Array.from({ length: question.forecast_days * 24 }, (_, hour) => firstMs + hour * hourMs);
  const weather = times.map((ms) => climate.weather(latitude, longitude, ms + solar.hours * hourMs));
  const shown = (ms: number): number | string =>
    question.timeformat === "unixtime" ? ms / 1_000 : new Date(ms + zone.hours * hourMs).toISOString().slice(0, 16);
  return {
    latitude,
    longitude,
    generationtime_ms: performance.now() - startedMs,
    utc_offset_seconds: zone.hours * 3_600,
    timezone: zone.name,
    timezone_abbreviation: zone.name,
    elevation: 0,
    hourly_units: { time: question.timeformat, ...Object.fromEntries(names.map((name) => [name, variables[name]!.unit])) },
    hourly: {
      time: times.map(shown),
      ...Object.fromEntries(names.map((name) => [name, weather.map((each) => variables[name]!.value(each))])),
    },
  };
}

/** Starts it on a free port of the loopback address. `now`: milliseconds since 1970, for tests. */
export async function startSimulator(now: () => number = Date.now): Promise<Simulator> {
  const climate = await loadClimate();
  let trouble = none;
  let owed = 0;
  const counts = { asked: 0, left: 0 };
  const disturb = (given: Partial<Trouble>): void => {
    trouble = { ...none, ...given };
    owed = 0;
  };

  const forecast = endpoint("GET /v1/forecast", { query: Query, deadline: "none" }, async ({ query, request, signal }) => {
    counts.asked++;
    const { latencyMs, errorRatio, outage } = trouble;
    if (outage) return void request.raw.socket.destroy();
    try {
      if (latencyMs > 0) await delay(latencyMs, undefined, { signal });
    } catch {
      counts.left++;
      return undefined;
    }
    owed += errorRatio;
    if (owed >= 1) {
      owed -= 1;
      throw problem(503, "SIMULATED_ERROR", "The simulator has been told to fail.");
    }
    return answer(climate, query, now());
  });
  // A page of another site cannot call these: JSON from elsewhere needs a permission that nobody gives, and a name that leads here is no
  // address of ours.
  const headers = { host: Type.String({ pattern: String.raw`^(127\.0\.0\.1|localhost)(:\d+)?$` }) };
  const readTrouble = endpoint("GET /admin/weather", { headers, response: Trouble }, () => trouble);
  const setTrouble = endpoint("PUT /admin/weather", { headers, body: Type.Partial(Trouble), response: Trouble }, ({ body }) => {
    disturb(body);
    return trouble;
  });

  const app = createApp({ endpoints: [forecast, readTrouble, setTrouble], title: "Simulated weather", logger: false });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return { url, counts, disturb, close: () => app.close(), [Symbol.asyncDispose]: () => app.close() };
}
