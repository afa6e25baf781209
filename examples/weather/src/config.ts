// What can be set from outside. The only place that reads the environment.

import { isIP } from "node:net";
import { fileURLToPath } from "node:url";
import { type Duration, parseDuration } from "millrace";

export interface Config {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Absent: the embedded PostgreSQL, with its data in `dataDir`. */
  readonly databaseUrl: string | undefined;
  readonly dataDir: string;
  /** Where the processes share what they have cached. Absent: each has its own memory. */
  readonly redisUrl: string | undefined;
  /** The API that makes forecasts, Open-Meteo or what answers alike. Absent: the simulator that comes along. */
  readonly weatherUrl: string | undefined;
  /** Whether that API may be at a private address: only when the URL says so itself. */
  readonly weatherIsPrivate: boolean;
  /** How long a forecast is good. */
  readonly forecastTtl: Duration;
  /** Where uploaded files wait for their import. With several processes: a directory of all of them. */
  readonly uploadDir: string;
  /** The server that takes mails. Absent: they are written into `mailDir`. */
  readonly smtpUrl: string | undefined;
  readonly mailDir: string;
  /** Whether this process works on tasks. False: it only enqueues, and others work. */
  readonly workers: boolean;
  readonly logLevel: string;
}

/** The message is for whoever starts the service. */
export class ConfigError extends Error {}

const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

/** Reads the configuration. An empty variable counts as absent. @throws ConfigError naming the variable */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const port = env["PORT"] || "3000";
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new ConfigError(`PORT is ${JSON.stringify(port)}, expected a number from 0 to 65535.`);

  const databaseUrl = env["DATABASE_URL"] || undefined;
  // Not shown: it may hold a password.
  if (databaseUrl && !/^postgres(ql)?:\/\//.test(databaseUrl)) {
    throw new ConfigError("DATABASE_URL must begin with postgresql://, as in postgresql://user:password@host:5432/database.");
  }

  const redisUrl = env["REDIS_URL"] || undefined;
  if (redisUrl && !/^rediss?:\/\//.test(redisUrl)) {
    throw new ConfigError("REDIS_URL must begin with redis:// or rediss://, as in redis://user:password@host:6379/0.");
  }

  const weatherUrl = env["WEATHER_URL"] || undefined;
  if (weatherUrl && !(/^https?:\/\//.test(weatherUrl) && URL.canParse(weatherUrl)))
    throw new ConfigError("WEATHER_URL must begin with http:// or https://, as in https://api.open-meteo.com.");
  const weatherHost = weatherUrl === undefined ? "" : new URL(weatherUrl).hostname.replace(/^\[(.*)\]$/, "$1");

  const forecastTtl = (env["FORECAST_TTL"] || "10m") as Duration;
  if (!isDuration(forecastTtl))
    throw new ConfigError(`FORECAST_TTL is ${JSON.stringify(forecastTtl)}, expected a duration such as 30s or 10m.`);

  const smtpUrl = env["SMTP_URL"] || undefined;
  // Not shown: it may hold a password.
  if (smtpUrl && !(/^smtps?:\/\//.test(smtpUrl) && URL.canParse(smtpUrl)))
    throw new ConfigError("SMTP_URL must begin with smtp:// or smtps://, as in smtp://user:password@host:587.");

  const workers = env["WORKERS"] || "1";
  if (workers !== "0" && workers !== "1")
    throw new ConfigError(`WORKERS is ${JSON.stringify(workers)}, expected 1, or 0 for a process that leaves tasks to others.`);

  const logLevel = env["LOG_LEVEL"] || "info";
  if (!logLevels.includes(logLevel))
    throw new ConfigError(`LOG_LEVEL is ${JSON.stringify(logLevel)}, expected one of ${logLevels.join(", ")}.`);

  return {
    host: env["HOST"] || "127.0.0.1",
    port: Number(port),
    databaseUrl,
    dataDir: env["DATA_DIR"] || fileURLToPath(new URL("../.millrace/postgres", import.meta.url)),
    redisUrl,
    weatherUrl,
    weatherIsPrivate: isIP(weatherHost) !== 0 || weatherHost === "localhost",
    forecastTtl,
    uploadDir: env["UPLOAD_DIR"] || fileURLToPath(new URL("../.millrace/uploads", import.meta.url)),
    smtpUrl,
    mailDir: env["MAIL_DIR"] || fileURLToPath(new URL("../.millrace/mail", import.meta.url)),
    workers: workers === "1",
    logLevel,
  };
}

function isDuration(text: Duration): boolean {
  try {
    return parseDuration(text) > 0;
  } catch {
    return false;
  }
}
