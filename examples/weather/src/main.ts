// The composition root: everything is made here, in order, and closed here. See ../README.md.

import { fileURLToPath } from "node:url";
import { MillraceError, createDatabase, migrate } from "millrace";
import { createWeather } from "./app.ts";
import { banner } from "./banner.ts";
import { type Config, ConfigError, readConfig } from "./config.ts";
import { showProgress } from "./seed/progress.ts";
import { seed } from "./seed/seed.ts";

/** Ends with `starting` when that aborts before the service is up; after that, with SIGTERM or SIGINT. */
async function run(config: Config, starting: AbortSignal): Promise<void> {
  await using database = await createDatabase({
    url: config.databaseUrl,
    embedded: { dataDir: config.dataDir },
    applicationName: "weather",
    log: (message) => console.error(message),
  });
  await migrate(database, { directory: fileURLToPath(new URL("../migrations", import.meta.url)) });
  await seed(database, showProgress(process.stderr), starting);

  await using app = createWeather({ database, logger: { level: config.logLevel } });
  starting.throwIfAborted();
  const signal = app.untilSignal();
  const url = await app.listen({ host: config.host, port: config.port });
  console.log(await banner(url, config, database));
  await signal;
}

/** What to tell whoever started the service: one sentence for what can be expected to happen, everything for the rest. */
function explain(error: unknown): unknown {
  const { code, severity, message, port, address, hostname } = error as Record<string, unknown>;
  if (code === "EADDRINUSE") return `PORT ${port} is in use by another program. Set PORT to a free one, or to 0 for any.`;
  if (code === "EACCES" && port) return `PORT ${port} may not be used by this user. Set PORT to 1024 or more.`;
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND") return `HOST ${address ?? hostname} is not an address of this machine.`;
  if (typeof severity === "string") return `PostgreSQL says: ${String(message)}`;
  return error instanceof ConfigError || error instanceof MillraceError ? message : error;
}

const starting = new AbortController();
for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.once(signal, () => starting.abort(exitCode));
}

try {
  await run(readConfig(process.env), starting.signal);
} catch (error) {
  if (starting.signal.aborted) process.exitCode = starting.signal.reason as number;
  else {
    console.error(explain(error));
    process.exitCode = 1;
  }
}
