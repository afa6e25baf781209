// The composition root: everything is made here, in order, and closed here. See ../README.md.

import { fileURLToPath } from "node:url";
import { createCache, createDatabase, createFreshness, createTasks, migrate, redisStore } from "millrace";
import { createWeather } from "./app.ts";
import { openBackground } from "./background.ts";
import { banner } from "./banner.ts";
import { type Config, readConfig } from "./config.ts";
import { explain } from "./explain.ts";
import { countReads } from "./forecasts/reads.ts";
import { rollUpMonths } from "./observations/months.ts";
import { showProgress } from "./seed/progress.ts";
import { seed } from "./seed/seed.ts";

/** Runs the service until SIGTERM or SIGINT. Until it is up, `starting` ends it: nothing half-done stays behind. */
async function run(config: Config, starting: AbortSignal): Promise<void> {
  await using database = await createDatabase({
    url: config.databaseUrl,
    embedded: { dataDir: config.dataDir },
    applicationName: "weather",
    log: (message) => console.error(message),
  });
  await migrate(database, { directory: fileURLToPath(new URL("../migrations", import.meta.url)) });
  await seed(database, showProgress(process.stderr), starting);

  await using freshness = await createFreshness({ database, name: "weather", history: config.redisUrl !== undefined });
  await using store = config.redisUrl === undefined ? undefined : redisStore({ url: config.redisUrl });
  await using cache = createCache({ ledger: freshness.ledger, ...(store && { store }) });

  await using opened = new AsyncDisposableStack();
  const background = await openBackground({ config, database, store, opened });
  const { simulator, forecasts, forecastCache, uploads, importTask, mailer, welcome } = background;
  using _exposed = freshness.expose(cache, forecastCache);

  await using reads = countReads(database);
  await using tasks = await createTasks({ database, tasks: background.tasks, logger: { level: config.logLevel } });
  if (config.workers) await tasks.start();
  await rollUpMonths.enqueue({ months: "changed" }, { in: tasks }); // for what was loaded above

  const logger = { level: config.logLevel };
  await using app = createWeather({
    database,
    forecasts,
    imports: { uploads, importTask, tasks },
    welcome,
    reads,
    cache,
    cacheTokens: freshness.tokens,
    logger,
  });
  starting.throwIfAborted();
  const signal = app.untilSignal();
  const url = await app.listen({ host: config.host, port: config.port });
  console.log(await banner({ url, config, database, cache, simulator, mailer }));
  await signal;
}

const starting = new AbortController();
process.once("SIGINT", () => starting.abort(130));
process.once("SIGTERM", () => starting.abort(143));

try {
  await run(readConfig(process.env), starting.signal);
} catch (error) {
  const interrupted = error === starting.signal.reason;
  if (!interrupted) console.error(explain(error as Error));
  process.exitCode = interrupted ? starting.signal.reason : 1;
}
