// Random queries against random writes: an answer that changes was foretold by its dependencies. MILLRACE_ORACLE_QUERIES makes the run
// longer, MILLRACE_ORACLE_SEED another one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { type TestServer, testServer } from "../harness/postgres.ts";
import { joinsWorld } from "./dependency-joins-world.ts";
import { createStatementPlans } from "../../src/freshness/dependencies/statement-plans.ts";
import { type OracleOptions, type OracleRun, runOracle } from "./dependency-oracle.ts";
import { typesWorld } from "./dependency-types-world.ts";

/** Some seconds' worth. */
const queries = Number(process.env["MILLRACE_ORACLE_QUERIES"] ?? 150);
const seed = Number(process.env["MILLRACE_ORACLE_SEED"] ?? 1);

// A server of its own: a run is one transaction, which may last, and on any server slots are made when all transactions have ended.
let server: TestServer;
before(async () => (server = await testServer({ durable: false })));
after(() => server[Symbol.asyncDispose]());

async function run(options: Omit<OracleOptions, "writesPerQuery" | "seed"> & { readonly seed?: number }): Promise<OracleRun> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    return await runOracle(client, { seed, writesPerQuery: 4, ...options });
  } finally {
    await client.end();
  }
}

for (const [name, world] of Object.entries({ joins: joinsWorld, types: typesWorld })) {
  test(`no answer changes without a write to what it depends on: ${name}`, async (t) => {
    const { failures, ...counts } = await run({ world, queries });
    t.diagnostic(JSON.stringify(counts));
    assert.deepEqual(failures.slice(0, 3), []);
    // Otherwise the run has shown nothing.
    assert.ok(counts.changes > queries / 20, "answers changed");
    assert.ok(counts.narrowed > queries / 4, "answers depended on rows");
    assert.ok(counts.survived > queries / 20, "answers survived writes to their tables");
    assert.ok(counts.refused < queries, "PostgreSQL takes most of the queries");
  });
}

/** Each is one line in the analysis that is wrong, in the world whose queries can tell, with a seed that tells in a second or two. */
const planted = [
  ["outerJoinsNarrowBothSides", joinsWorld, 5],
  ["limitIsTransparent", joinsWorld, 3],
  ["joinsNeedNoPartner", joinsWorld, 5],
  ["windowsAreTransparent", typesWorld, 1],
  ["policiesReadNothing", typesWorld, 4],
  ["childrenAreForgotten", typesWorld, 1],
] as const;

for (const [bug, world, first] of planted) {
  test(`the oracle catches a planted bug: ${bug}`, async (t) => {
    const { failures, queries: needed } = await run({
      world,
      queries: 5_000,
      seed: first,
      untilFailure: true,
      plans: ({ catalogue }) => createStatementPlans(catalogue, { [bug]: true }),
    });
    t.diagnostic(`after ${needed} queries`);
    assert.notEqual(failures.length, 0);
  });
}
