// The service as a value: all endpoints on one database, forecasts from elsewhere, and the page for people. main.ts listens with it, the tests
// do too. With a cache all that is read from the database is kept, and no endpoint says so.

import { type App, type AppOptions, type Database, createApp } from "millrace";
import { cityEndpoints } from "./cities/endpoints.ts";
import { forecastEndpoints } from "./forecasts/endpoints.ts";
import type { Forecasts } from "./forecasts/forecasts.ts";
import type { ReadCounts } from "./forecasts/reads.ts";
import { type ImportOptions, importEndpoints } from "./imports/endpoints.ts";
import type { WelcomeTask } from "./mail/welcome.ts";
import { observationEndpoints } from "./observations/endpoints.ts";
import { monthEndpoints } from "./observations/months.ts";
import { pageEndpoints } from "./page/endpoints.ts";
import { reportReadEndpoints } from "./reports/read-endpoints.ts";
import { reportWriteEndpoints } from "./reports/write-endpoints.ts";
import { userEndpoints } from "./users/endpoints.ts";

export interface WeatherOptions extends Pick<AppOptions, "cache" | "cacheTokens" | "logger" | "checkResponses"> {
  readonly database: Database;
  /** Absent: the service has no forecasts. */
  readonly forecasts?: Forecasts;
  /** Absent: the service takes no files. */
  readonly imports?: ImportOptions;
  /** The mail for new users. Absent: they get none. */
  readonly welcome?: WelcomeTask;
  /** Counts whose forecasts are asked for. Absent: nobody does. */
  readonly reads?: ReadCounts;
  /** Where the page for people lies. Default: ../page. */
  readonly page?: string;
}

export function createWeather({ forecasts, imports, welcome, reads, page, ...options }: WeatherOptions): App {
  return createApp({
    title: "Weather",
    endpoints: [
      ...cityEndpoints,
      ...observationEndpoints,
      ...monthEndpoints,
      ...(forecasts ? forecastEndpoints(forecasts, reads) : []),
      ...userEndpoints(welcome),
      ...(imports ? importEndpoints(imports) : []),
      ...reportReadEndpoints,
      ...reportWriteEndpoints,
      ...pageEndpoints(page),
    ],
    ...options,
  });
}
