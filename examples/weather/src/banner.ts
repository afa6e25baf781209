// What the service says when it is up: what it runs on, where it is, and something to try.

import { relative } from "node:path";
import { type Cache, type Database, sql } from "millrace";
import type { Config } from "./config.ts";
import type { Mailer } from "./mail/mailer.ts";
import type { Simulator } from "./simulator/simulator.ts";

export interface Running {
  readonly url: string;
  readonly config: Config;
  readonly database: Database;
  readonly cache?: Cache;
  readonly simulator?: Simulator | undefined;
  readonly mailer: Mailer;
}

/** A directory as people here would type it. */
function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return path.startsWith("/") && !near.startsWith("..") ? near : path;
}

export async function banner({ url, config, database, cache, simulator, mailer }: Running): Promise<string> {
  const { version } = await database.one(
    sql<{ version: string }>`select split_part(current_setting('server_version'), ' ', 1) as version`,
  );
  const where = database.embedded ? `embedded, data in ${shown(config.dataDir)}` : `at ${database.url}`;
  const { memory, store } = cache?.stats() ?? {};
  const kept = memory
    ? `answers in ${Math.round(memory.maxBytes / 2 ** 20)} MiB of memory${store ? ` and in ${store.name}` : ""}`
    : "off";
  const weather = simulator
    ? `simulated at ${simulator.url}; WEATHER_URL=https://api.open-meteo.com asks a real one`
    : `forecasts of ${config.weatherUrl}`;
  const trouble = simulator
    ? `  curl -X PUT -H 'content-type: application/json' -d '{"outage":true}' '${simulator.url}/admin/weather'\n`
    : "";
  return `
The weather service is up at ${url}

  database  PostgreSQL ${version}, ${where}
  cache     ${kept}
  weather   ${weather}
  queue     PostgreSQL${config.workers ? "" : "; this process leaves tasks to others"}
  mail      to ${shown(mailer.to)}
  docs      ${url}/docs
  page      ${url} in a browser

  curl '${url}/cities?q=sao+p&limit=3'
  curl '${url}/cities/5809844/observations?limit=2'
  curl '${url}/cities/5809844/forecast'
${trouble}`;
}
