// Becoming present at the server of a cluster, whatever state it is in: running, starting, stopping, crashed, or not there.
// See docs/embedded-postgresql.md, "Who starts and who stops the server".
//
// | found                                        | done                                                             |
// | a server answers                             | join it                                                          |
// | a server answers and is being stopped        | wait until it is gone, look again                                |
// | a server process lives, nobody answers       | it starts or stops: wait, look again                             |
// | postmaster.pid names a process of others     | remove the file (the number was given out again), start          |
// | postmaster.pid names nobody, or there is none| start; PostgreSQL recovers by itself                             |
// | postmaster.pid is empty                      | another process is just writing it: wait; after a while remove it |
// | another process was faster to start          | join that one                                                    |
// | processes of a killed server hold its memory | wait until they have ended, start                                |

import { join as joinPath } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDuration, systemClock } from "../../core/index.ts";
import { databaseErrors } from "../errors.ts";
import type { Cluster } from "./cluster.ts";
import { lookEveryMs } from "./options.ts";
import {
  type StartingServer,
  identify,
  readLog,
  readPostmasterFile,
  removeForeignLockFile,
  spawnPostmaster,
} from "./postmaster.ts";
import { type JoinRefusal, type Presence, join } from "./presence.ts";
import { isDiskFull, saysDiskFull } from "./program.ts";

export interface StartOptions {
  readonly settings: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Aborting it gives up waiting; a server that was started stays and is for the next one. */
  readonly signal?: AbortSignal | undefined;
}

/** What a start that lost against another process, or against the remains of an earlier server, says in the log. */
const lostTheRace =
  /lock file "[^"]*" (already exists|is empty)|could not bind Unix address|could not create lock file|Is another postmaster/;
const memoryHeld = /pre-existing shared memory block/;

/** Processes of a killed server end when they notice, which takes them milliseconds to seconds; trying more often costs a start each. */
const memoryRetryMs = 100;

const reasons: Readonly<Record<JoinRefusal, string>> = {
  "nobody listens": "nobody listened on its socket",
  "not yet or no longer": "it was starting up or shutting down",
  "being stopped": "another process was stopping it",
};

/** Resolves true when the server accepts connections, false when it has ended or time is up. */
async function untilReady(server: StartingServer, cluster: Cluster, mayWait: () => boolean): Promise<boolean> {
  while (!server.hasEnded() && mayWait()) {
    const file = await readPostmasterFile(cluster.pgdata);
    if (file?.pid === server.pid && file.status === "ready") return true;
    await Promise.race([server.ended, sleep(lookEveryMs)]);
  }
  return false;
}

/**
 * Joins the server of the cluster, starting it first when it does not run.
 * @throws MILLRACE_EMBEDDED_START_FAILED, MILLRACE_EMBEDDED_START_TIMEOUT, MILLRACE_EMBEDDED_DISK_FULL
 */
export async function joinOrStart(
  cluster: Cluster,
  options: StartOptions,
): Promise<{ readonly presence: Presence; readonly started: boolean }> {
  const untilMs = systemClock.monotonic() + options.timeoutMs;
  const remainingMs = (): number => untilMs - systemClock.monotonic();
  const mayWait = (): boolean => remainingMs() > 0 && !options.signal?.aborted;
  const startedPids = new Set<number>();
  let waitingFor = reasons["nobody listens"];

  while (mayWait()) {
    const outcome = await join(cluster, remainingMs());
    if (typeof outcome === "object") return { presence: outcome, started: startedPids.has(outcome.pid) };
    waitingFor = reasons[outcome];
    if (outcome !== "nobody listens") {
      await sleep(lookEveryMs);
      continue;
    }

    const file = await readPostmasterFile(cluster.pgdata);
    if (file && (await identify(file.pid, cluster.pgdata)) === "postmaster") {
      waitingFor = `process ${file.pid} was starting up or shutting down`;
      await sleep(lookEveryMs);
      continue;
    }
    await removeForeignLockFile(joinPath(cluster.pgdata, "postmaster.pid"), cluster.pgdata);
    await removeForeignLockFile(joinPath(cluster.socketDir, ".s.PGSQL.5432.lock"), cluster.pgdata);
    if ((await readPostmasterFile(cluster.pgdata))?.text.trim() === "") {
      waitingFor = "another process was making postmaster.pid";
      await sleep(lookEveryMs);
      continue;
    }

    const server = await spawnPostmaster(cluster, options.settings);
    startedPids.add(server.pid);
    if (await untilReady(server, cluster, mayWait)) continue;
    if (!server.hasEnded()) {
      waitingFor = `process ${server.pid} was still starting up`;
      break;
    }
    const log = await server.log();
    if (saysDiskFull(log) || (await isDiskFull(cluster.pgdata)))
      throw databaseErrors.create("MILLRACE_EMBEDDED_DISK_FULL", { directory: cluster.pgdata });
    if (memoryHeld.test(log)) {
      waitingFor =
        "processes of an earlier server that was killed still run and hold its shared memory; end them (ps -ef | grep postgres)";
      await sleep(memoryRetryMs);
    } else if (lostTheRace.test(log)) {
      waitingFor = "another server held its lock file";
      await sleep(lookEveryMs);
    } else {
      throw databaseErrors.create("MILLRACE_EMBEDDED_START_FAILED", { reason: "the server process ended while starting", log });
    }
  }
  options.signal?.throwIfAborted();
  throw databaseErrors.create("MILLRACE_EMBEDDED_START_TIMEOUT", {
    dataDir: cluster.dataDir,
    timeout: formatDuration(options.timeoutMs),
    waitingFor,
    log: await readLog(cluster.logFile),
  });
}
