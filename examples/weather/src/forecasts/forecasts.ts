// Forecasts through a cache of their own: the API is asked once for a place and a while, whoever asks here, and when it fails the last answer
// goes on being served, with its age. The cache does not follow the database: what happens there says nothing about tomorrow's weather.

import {
  type Cache,
  type Duration,
  type Outcome,
  type Problem,
  type ReadOptions,
  type Upstream,
  problem,
  upstreamErrors,
} from "millrace";
import type { Forecast, FetchedForecast } from "./forecast.ts";
import { type Place, fetchForecast } from "./open-meteo.ts";

/** Which shape of FetchedForecast is kept: another number, and what an older version of the service has left is not found. */
export const forecastShape = 1;

/** How long a forecast is shown when there is no newer one. Older ones mislead. */
const stale = "6h";

/** When to ask again for want of a better estimate: the breaker of the upstream lets the first calls through after two. */
const retryAfterSeconds = 2;

export interface ForecastsOptions {
  readonly upstream: Upstream;
  /** For forecasts alone. */
  readonly cache: Cache;
  /** Who makes them, for people. */
  readonly source: string;
  /** How long one is good. Default "10m": the models behind them run every hour at the most. */
  readonly ttl?: Duration | undefined;
}

export interface Forecasts {
  readonly source: string;
  /**
   * The forecast for a place, and how it came about. `signal` ends the wait, and the call of the API if nobody else waits for it.
   * @throws as Upstream.json() does when there is none, new or old; the signal's reason
   */
  read(place: Place, options: ReadForecastOptions): Promise<Outcome<FetchedForecast>>;
}

export interface ReadForecastOptions extends Pick<ReadOptions<FetchedForecast>, "freshFor"> {
  readonly signal: AbortSignal;
}

// #region forecasts
export function createForecasts({ upstream, cache, source, ttl = "10m" }: ForecastsOptions): Forecasts {
  return {
    source,
    async read({ latitude, longitude }, options) {
      // About a kilometre, less than any model resolves: neighbours share a forecast.
      const place = { latitude: Number(latitude.toFixed(2)), longitude: Number(longitude.toFixed(2)) };
      const key = `forecast:${place.latitude},${place.longitude}`;
      return cache.read(key, { ttl, stale }, () => fetchForecast(upstream, place), options);
    },
  };
}
// #endregion

/** What clients get. */
export function present(cityId: number, source: string, { value, ageMs, state }: Outcome<FetchedForecast>): Forecast {
  const { fetchedAt, timezone, utcOffsetSeconds, hours } = value;
  return {
    cityId,
    source,
    fetchedAt,
    ageSeconds: Math.floor(ageMs / 1_000),
    state: state === "stale" ? "stale" : "fresh",
    timezone,
    utcOffsetSeconds,
    hours,
  };
}

/** The problem of a client who wants a forecast that is not to be had. What is no failure of the API is thrown as it is. */
export function unavailable(error: unknown): Problem {
  if (!upstreamErrors.is(error)) throw error;
  const { retryAfterMs = retryAfterSeconds * 1_000 } = error.details as { readonly retryAfterMs?: number };
  return problem(503, "FORECAST_UNAVAILABLE", "There is no forecast at the moment: the service that makes them does not answer.", {
    headers: { "retry-after": String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) },
    cause: error,
  });
}
