// One idle connection per process that says "I am using this server". The server itself is the register: a process that is killed
// is off it with its connection, so there are no leases and no files to go stale. See docs/embedded-postgresql.md,
// "Who starts and who stops the server".
//
// | lock on the presence key  | held by                       | meaning                                                  |
// | shared                    | every process that is present | the server is in use                                     |
// | exclusive                 | the last one, while it stops  | too late to join: wait until it is gone, start another   |

import pg from "pg";
import { systemClock } from "../../core/index.ts";
import { databaseErrors } from "../errors.ts";
import type { Cluster } from "./cluster.ts";
import { readPostmasterFile } from "./postmaster.ts";

/** Advisory locks belong to a database; this one always exists and nobody has a reason to drop it. */
const presenceDatabase = "postgres";

/** "mill" as a number, and which of the kit's locks. */
export const presenceKey = "1835625580, 1";

/** The application name of presence connections is this and the number of the process. */
export const presenceName = "millrace presence";

/** The server's number of connections is used up; superusers have three in reserve, which presence connections use. */
const tooManyConnections = "53300";

/** A process's membership among those that use the server. */
export interface Presence {
  /** Of the live server, such as `18.4`. */
  readonly version: string;
  readonly pid: number;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly lost: Promise<void>;
  /** Makes the database when it does not exist. */
  ensureDatabase(name: string): Promise<void>;
  /** Leaves. True: nobody else is present, and nobody can join as long as the connection is open. */
  leave(): Promise<boolean>;
  /** Closes the connection. */
  end(): Promise<void>;
}

/** What pg's types leave out: whether a client's socket keeps the process alive, and the socket itself. */
interface ClientSocket {
  ref(): void;
  unref(): void;
  readonly connection: { readonly stream: { destroy(): void } };
}

/** A server that does not answer a statement of the presence connection for so long hangs; leaving must not hang with it. */
const answerTimeoutMs = 30_000;

/** A connection that is not closed in order by then is cut. */
const endTimeoutMs = 2_000;

/** Why a process could not join. */
export type JoinRefusal = "nobody listens" | "not yet or no longer" | "being stopped";

const isDatabaseError = (error: unknown): error is pg.DatabaseError => error instanceof Error && "severity" in error;

/** Joins the server of the cluster, or says why that is not possible now. Other failures are thrown. */
export async function join(cluster: Pick<Cluster, "pgdata" | "socketDir">, timeoutMs: number): Promise<Presence | JoinRefusal> {
  const file = await readPostmasterFile(cluster.pgdata);
  const client = new pg.Client({
    host: file?.socketDir ?? cluster.socketDir,
    port: file?.port ?? 5432,
    user: "postgres",
    database: presenceDatabase,
    password: "",
    ssl: false,
    application_name: `${presenceName} ${process.pid}`,
    connectionTimeoutMillis: Math.max(1, Math.ceil(timeoutMs)),
    query_timeout: answerTimeoutMs,
  });
  const { promise: lost, resolve: onLost } = Promise.withResolvers<void>();
  client.once("end", onLost);
  // Reported as `lost`; without a listener it would end the process.
  client.on("error", () => onLost());
  const socket = client as unknown as ClientSocket;
  const end = async (): Promise<void> => {
    socket.ref();
    using _timer = systemClock.timer(endTimeoutMs, () => socket.connection.stream.destroy(), true);
    await client.end().catch(() => {});
  };
  try {
    await client.connect();
    const { rows } = await client.query<{ joined: boolean; directory: string; version: string }>(
      `select pg_try_advisory_lock_shared(${presenceKey}) as joined, current_setting('data_directory') as directory,
              current_setting('server_version') as version`,
    );
    const { joined, directory, version } = rows[0]!;
    if (directory !== cluster.pgdata) throw databaseErrors.create("MILLRACE_EMBEDDED_DIRECTORY_TAKEN", { path: cluster.socketDir });
    if (!joined) {
      await end();
      return "being stopped";
    }
    // A program that has nothing left to do ends, even when it forgot to close.
    socket.unref();
    return {
      version,
      pid: (await readPostmasterFile(cluster.pgdata))?.pid ?? 0,
      lost,
      async ensureDatabase(name) {
        socket.ref();
        try {
          const found = await client.query("select 1 from pg_database where datname = $1", [name]);
          if (found.rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(name)}`);
        } catch (error) {
          // Another process made it in between: 42P04, or 23505 when both were at it.
          if (!isDatabaseError(error) || (error.code !== "42P04" && error.code !== "23505")) throw error;
        } finally {
          socket.unref();
        }
      },
      async leave() {
        socket.ref();
        const { rows: left } = await client.query<{ last: boolean }>(
          `select pg_advisory_unlock_shared(${presenceKey}), pg_try_advisory_lock(${presenceKey}) as last`,
        );
        return left[0]!.last;
      },
      end,
    };
  } catch (error) {
    await end();
    if (isDatabaseError(error)) {
      // 57P01 to 57P03: shutting down or starting up while we were talking.
      if (error.code?.startsWith("57P") || error.code === tooManyConnections) return "not yet or no longer";
      throw error;
    }
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ECONNREFUSED" || code === "ENOENT") return "nobody listens";
    if (code?.startsWith("MILLRACE_")) throw error;
    if (code === "EACCES" || code === "EPERM") throw error;
    // Reset or cut off while connecting: the server was ending.
    return "not yet or no longer";
  }
}

/** Whether a statement failed because its connection ended: the server stopped or crashed, or the session was terminated. */
export function isConnectionEnd(error: unknown): boolean {
  if (isDatabaseError(error)) return error.code?.startsWith("57P") ?? false;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return (
    error instanceof Error &&
    (code === undefined ? /^(Connection terminated|Client )/.test(error.message) : /^(ECONN|EPIPE)/.test(code))
  );
}

/** Who uses the server, asked without joining. Rejects when it does not answer. */
export async function othersPresent(
  cluster: Pick<Cluster, "socketDir">,
  timeoutMs: number,
): Promise<{ readonly version: string; readonly pids: readonly number[] }> {
  const client = new pg.Client({
    host: cluster.socketDir,
    port: 5432,
    user: "postgres",
    database: presenceDatabase,
    password: "",
    ssl: false,
    application_name: "millrace status",
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ version: string; names: string[] }>(
      `select current_setting('server_version') as version,
              array(select distinct application_name from pg_stat_activity where application_name like $1) as names`,
      [`${presenceName} %`],
    );
    const { version, names } = rows[0]!;
    return { version, pids: names.map((name) => Number(name.slice(presenceName.length + 1))).toSorted((a, b) => a - b) };
  } finally {
    await client.end().catch(() => {});
  }
}
