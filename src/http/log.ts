// Logs: pino, one line per request, secrets never. See docs/http-safety.md.

import type { FastifyBaseLogger } from "fastify";
import { type Logger, type LoggerOptions, destination, pino, stdSerializers } from "pino";

/** Names under which secrets travel, at any of the first three levels of a logged object. */
const secretNames = [
  "authorization",
  "cookie",
  '["set-cookie"]',
  '["x-api-key"]',
  "password",
  "passwordHash",
  "password_hash",
  "token",
  "accessToken",
  "refreshToken",
  "secret",
  "apiKey",
  "credentials",
];

const below = (prefix: string) => secretNames.map((name) => (name.startsWith("[") ? `${prefix}${name}` : `${prefix}.${name}`));

/** For pino's `redact`. Our own request lines hold none of these; this guards what handlers log. */
export const redactedPaths: readonly string[] = [...secretNames, ...below("*"), ...below("*.*")];

function isPino(logger: LoggerOptions | Logger): logger is Logger {
  return "child" in logger && typeof logger.child === "function";
}

/** The app's logger: the given one, or a new one that writes JSON lines to stdout without blocking. */
export function createLogger(given: LoggerOptions | Logger | undefined): FastifyBaseLogger {
  if (given && isPino(given)) return given;
  const redact = given?.redact ?? { paths: [...redactedPaths], censor: "[redacted]" };
  const options: LoggerOptions = { level: "info", serializers: { err: stdSerializers.err }, ...given, redact };
  return options.transport ? pino(options) : pino(options, destination({ fd: 1, sync: false }));
}

/**
 * A request's logger that exists only when something is logged: a child with the request's id costs more than most requests.
 * Has the shape that Fastify asks of a logger.
 */
export class LazyLog {
  readonly #parent: FastifyBaseLogger;
  readonly #bindings: Record<string, unknown>;
  #child: FastifyBaseLogger | undefined;

  constructor(parent: FastifyBaseLogger, bindings: Record<string, unknown>) {
    this.#parent = parent;
    this.#bindings = bindings;
  }

  get #log(): FastifyBaseLogger {
    return (this.#child ??= this.#parent.child(this.#bindings));
  }

  get level(): string {
    return this.#parent.level;
  }

  child(...args: Parameters<FastifyBaseLogger["child"]>): FastifyBaseLogger {
    return this.#log.child(...args);
  }

  fatal(...args: Parameters<FastifyBaseLogger["fatal"]>): void {
    this.#log.fatal(...args);
  }

  error(...args: Parameters<FastifyBaseLogger["error"]>): void {
    this.#log.error(...args);
  }

  warn(...args: Parameters<FastifyBaseLogger["warn"]>): void {
    this.#log.warn(...args);
  }

  info(...args: Parameters<FastifyBaseLogger["info"]>): void {
    this.#log.info(...args);
  }

  debug(...args: Parameters<FastifyBaseLogger["debug"]>): void {
    this.#log.debug(...args);
  }

  trace(...args: Parameters<FastifyBaseLogger["trace"]>): void {
    this.#log.trace(...args);
  }

  silent(...args: Parameters<FastifyBaseLogger["silent"]>): void {
    this.#log.silent(...args);
  }
}
