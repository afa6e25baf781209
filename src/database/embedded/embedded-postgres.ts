// The real PostgreSQL as a child process, for development, tests and small installations: nothing to install, the same SQL as
// in production. See docs/embedded-postgresql.md.

import { resolve } from "node:path";
import type { Closeable } from "../../core/index.ts";
import { type EmbeddedPostgresOptions, resolveEmbeddedOptions } from "./options.ts";
import { serverUrl } from "./server-url.ts";
import { SharedServer } from "./shared-server.ts";

/** A running embedded server. Close it when the program no longer needs it; the last program to close stops the server. */
export interface EmbeddedPostgres extends Closeable {
  /** Connection URL for pg, psql and everything on libpq, as the superuser `postgres` over a private Unix socket. */
  readonly url: string;
  /** The directory that was asked for, absolute, links resolved. */
  readonly dataDir: string;
  /** Of the server, such as `18.4`. */
  readonly version: string;
  /** The server's first process; another one after a crash, because a crashed server is started again. */
  readonly pid: number;
  readonly logFile: string;
}

/** One per data directory in this process. */
const servers = new Map<string, Promise<SharedServer>>();

async function acquire(options: ReturnType<typeof resolveEmbeddedOptions>): Promise<SharedServer> {
  const key = resolve(options.dataDir);
  for (;;) {
    const known = servers.get(key);
    if (!known) {
      const opening = SharedServer.open(options);
      servers.set(key, opening);
      // The callers that wait for it get the error; the next call tries anew.
      opening.catch(() => servers.delete(key));
    }
    const server = await servers.get(key)!;
    if (server.closed === undefined) {
      server.acquire();
      return server;
    }
    await server.closed.catch(() => {});
    // The one that closed it may have been overtaken by a new one.
    if (servers.get(key) === known) servers.delete(key);
  }
}

/**
 * Starts the embedded server of `dataDir`, or joins the one that already runs there, started by this process or another.
 * A new directory takes about a second, an existing one 50–100 ms, joining some 25 ms. While any process has it open, a server
 * that crashes is started again.
 *
 * @throws MILLRACE_EMBEDDED_UNSUPPORTED, MILLRACE_EMBEDDED_PACKAGE_MISSING, MILLRACE_EMBEDDED_OTHER_MAJOR,
 * MILLRACE_EMBEDDED_FOREIGN_DIRECTORY, MILLRACE_EMBEDDED_DISK_FULL, MILLRACE_EMBEDDED_START_FAILED, MILLRACE_EMBEDDED_START_TIMEOUT
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const resolved = resolveEmbeddedOptions(options);
  const server = await acquire(resolved);
  try {
    await server.ensureDatabase(resolved.database);
  } catch (error) {
    await server.release();
    throw error;
  }
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= server.release());
  return {
    url: serverUrl(server.cluster, resolved.database),
    dataDir: server.cluster.dataDir,
    logFile: server.cluster.logFile,
    get version() {
      return server.version;
    },
    get pid() {
      return server.pid;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
