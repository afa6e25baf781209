// The address of the embedded server as pg, psql and everything built on libpq take it.

import type { Cluster } from "./cluster.ts";

/**
 * A connection URL: no host, because `host` among the parameters names the directory of the socket. Slashes stay readable,
 * everything else is escaped (a space as %20: libpq does not read `+`). The port is said, or PGPORT would change it.
 */
export function serverUrl(cluster: Pick<Cluster, "socketDir">, database: string): string {
  const host = encodeURIComponent(cluster.socketDir).replaceAll("%2F", "/");
  return `postgresql:///${encodeURIComponent(database)}?host=${host}&port=5432&user=postgres`;
}
