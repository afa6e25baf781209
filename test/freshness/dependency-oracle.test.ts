// Random queries against random writes: an answer that changes was foretold by its dependencies. MILLRACE_ORACLE_QUERIES makes the run
// longer, MILLRACE_ORACLE_SEED another one.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { createStatementPlans } from "../../src/freshness/dependencies/statement-plans.ts";
import { testDatabase } from "../harness/postgres.ts";
import { type OracleOptions, type OracleRun, runOracle } from "./dependency-oracle.ts";

/** Some seconds' worth. */
const queries = Number(process.env["MILLRACE_ORACLE_QUERIES"] ?? 200);
const seed = Number(process.env["MILLRACE_ORACLE_SEED"] ?? 1);

async function run(options: Omit<OracleOptions, "seed" | "writesPerQuery">): Promise<OracleRun> {
  await using database = await testDatabase();
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return await runOracle(client, { seed, writesPerQuery: 4, ...options });
  } finally {
    await client.end();
  }
}

test("no answer changes without a write to what it depends on", async (t) => {
  const { failures, ...counts } = await run({ queries });
  t.diagnostic(JSON.stringify(counts));
  assert.deepEqual(failures.slice(0, 3), []);
  // Otherwise the run has shown nothing.
  assert.ok(counts.changes > queries / 20, "answers changed");
  assert.ok(counts.narrowed > queries / 4, "answers depended on rows");
  assert.ok(counts.survived > queries / 20, "answers survived writes to their tables");
});

for (const bug of ["outerJoinsNarrowBothSides", "limitIsTransparent", "joinsNeedNoPartner"] as const) {
  test(`the oracle catches a planted bug: ${bug}`, async () => {
    const { failures } = await run({
      queries: 5_000,
      untilFailure: true,
      plans: ({ catalogue }) => createStatementPlans(catalogue, { [bug]: true }),
    });
    assert.notEqual(failures.length, 0);
  });
}
