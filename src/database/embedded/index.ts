export { type Cluster, prepareCluster } from "./cluster.ts";
export { type EmbeddedState, describeEmbedded, startAndKeepRunning, stopEmbedded } from "./control.ts";
export { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded-postgres.ts";
export { type EmbeddedPostgresOptions, serverSettings, throwAwaySettings } from "./options.ts";
export { readPostmasterFile, removeForeignLockFile, spawnPostmaster, stopPostmaster, waitUntilGone } from "./postmaster.ts";
export { serverUrl } from "./server-url.ts";
