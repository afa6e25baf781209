// A file that says that the server was started by a person (`millrace db start`) and stays when the last process leaves.

import { constants } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Cluster } from "./cluster.ts";

type ClusterFiles = Pick<Cluster, "logFile">;

const markPath = (cluster: ClusterFiles): string => join(dirname(cluster.logFile), "keep-running");

export async function markKeptRunning(cluster: ClusterFiles): Promise<void> {
  await (await open(markPath(cluster), constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)).close();
}

export const unmarkKeptRunning = (cluster: ClusterFiles): Promise<void> => rm(markPath(cluster), { force: true });

export const isKeptRunning = (cluster: ClusterFiles): Promise<boolean> =>
  stat(markPath(cluster)).then(
    () => true,
    () => false,
  );
