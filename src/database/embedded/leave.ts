// Leaving a server: the last to leave stops it. See docs/embedded-postgresql.md, "Who starts and who stops the server".

import { isKeptRunning } from "./keep-running.ts";
import type { Cluster } from "./cluster.ts";
import { identify, readPostmasterFile, stopPostmaster } from "./postmaster.ts";
import type { Presence } from "./presence.ts";

/**
 * - `stopped`: this process was the last, the server is gone
 * - `in use`: others are present
 * - `kept`: this process was the last, but a person started the server to stay (`millrace db start`)
 * - `elsewhere`: this process was the last, but the server runs in another container, where its number means something
 */
export type Departure = "stopped" | "in use" | "kept" | "elsewhere";

/** Leaves the server, stopping it when nobody else is present. Rejects when the connection breaks before that is known. */
export async function leaveServer(cluster: Pick<Cluster, "pgdata" | "logFile">, presence: Presence): Promise<Departure> {
  try {
    if (!(await presence.leave())) return "in use";
    if (await isKeptRunning(cluster)) return "kept";
    const file = await readPostmasterFile(cluster.pgdata);
    if (!file || (await identify(file.pid, cluster.pgdata)) !== "postmaster") return "elsewhere";
    await stopPostmaster(file.pid, cluster.pgdata);
    return "stopped";
  } finally {
    await presence.end();
  }
}
