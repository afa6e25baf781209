// The PostgreSQL of a run: the kit's embedded server in a directory that is removed afterwards, on all cores, for everybody.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startEmbeddedPostgres } from "../../src/database/index.ts";

export interface BenchDatabase extends AsyncDisposable {
  readonly url: string;
}

/** Starts a server and runs `seed` on it. */
export async function benchDatabase(seed: readonly string[]): Promise<BenchDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), "millrace-bench-"));
  const server = await startEmbeddedPostgres({ dataDir });
  const dispose = async () => {
    await server.close();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    process.stderr.write("seeding …");
    for (const statement of seed) await client.query(statement);
    await client.end();
    process.stderr.write("\r\x1b[K");
  } catch (error) {
    await dispose();
    throw error;
  }
  return { url: server.url, [Symbol.asyncDispose]: dispose };
}
