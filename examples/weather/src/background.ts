// What the endpoints and the tasks have in common: forecasts, uploads, mails, and the tasks themselves. main.ts makes it for the service,
// tasks.ts for workers of their own.

import { type AnyTask, type Cache, type Database, type Store, createCache, createTimeLedger, createUpstream } from "millrace";
import type { Config } from "./config.ts";
import { type Forecasts, createForecasts, forecastShape } from "./forecasts/forecasts.ts";
import { refreshTask } from "./forecasts/refresh.ts";
import { type ImportTask, importTask } from "./imports/import-task.ts";
import { type Uploads, openUploads, removeStrayUploads } from "./imports/uploads.ts";
import { type Mailer, fileMailer, smtpMailer } from "./mail/mailer.ts";
import { type WelcomeTask, welcomeTask } from "./mail/welcome.ts";
import { rollUpMonths } from "./observations/months.ts";
import { type Simulator, startSimulator } from "./simulator/simulator.ts";

export interface Background {
  /** Undefined: an API of others makes the forecasts. */
  readonly simulator: Simulator | undefined;
  readonly forecasts: Forecasts;
  readonly forecastCache: Cache;
  readonly uploads: Uploads;
  readonly importTask: ImportTask;
  readonly mailer: Mailer;
  readonly welcome: WelcomeTask;
  /** All of them. */
  readonly tasks: readonly AnyTask[];
}

export interface BackgroundOptions {
  readonly config: Config;
  readonly database: Database;
  /** What the processes share forecasts through. Undefined: each has its own. */
  readonly store: Store | undefined;
  /** Takes what must be closed. */
  readonly opened: AsyncDisposableStack;
}

export async function openBackground({ config, database, store, opened }: BackgroundOptions): Promise<Background> {
  const simulator = config.weatherUrl === undefined ? opened.use(await startSimulator()) : undefined;
  const weatherUrl = simulator?.url ?? config.weatherUrl!;
  const upstream = opened.use(
    createUpstream("open-meteo", { url: weatherUrl, allowPrivate: simulator ? ["127.0.0.1"] : config.weatherIsPrivate }),
  );
  const source = simulator ? "simulator" : new URL(weatherUrl).hostname;
  // #region forecast-cache
  const forecastCache = opened.use(
    createCache({
      name: "forecasts",
      ledger: createTimeLedger({ namespace: `${source} ${forecastShape}` }), // nobody here writes tomorrow's weather
      ...(store && { store }),
    }),
  );
  // #endregion
  const forecasts = createForecasts({ upstream, cache: forecastCache, source, ttl: config.forecastTtl });

  const uploads = await openUploads(config.uploadDir);
  await removeStrayUploads(database, config.uploadDir, Date.now());
  const imports = importTask(uploads);
  const mailer = config.smtpUrl === undefined ? fileMailer(config.mailDir) : smtpMailer(config.smtpUrl);
  const welcome = welcomeTask(mailer);
  return {
    simulator,
    forecasts,
    forecastCache,
    uploads,
    importTask: imports,
    mailer,
    welcome,
    tasks: [imports, welcome, rollUpMonths, refreshTask(forecasts)],
  };
}
