// An oracle for dependencies: random queries over small data, each run before and after random writes. When the answer changes,
// what it was said to depend on must have been written, by a comparison of all rows before and after. See docs/dependencies.md.

import type pg from "pg";
import {
  type Catalogue,
  type StatementPlans,
  canonicalValue,
  createStatementPlans,
  loadCatalogue,
  namesOf,
} from "../../src/freshness/dependencies/index.ts";
import { type OracleQuery, type OracleWorld, randomOf } from "./dependency-world.ts";

type Texts = Readonly<Record<string, string | null>>;
/** The rows of each written table, as PostgreSQL's texts. */
export type TableRows = Readonly<Record<string, readonly Texts[]>>;

/** One statement that reads every row of the written tables. */
export function everyRow(written: readonly string[], catalogue: Catalogue): string {
  const rows = written.map((table) => {
    const relation = catalogue.relation(undefined, table);
    if (typeof relation !== "object") throw new Error(`No table ${table}.`);
    const columns = relation.columns.map(({ name }) => `'${name}', ${name}::text`);
    return `'${table}', (select coalesce(json_agg(json_build_object(${columns.join(", ")})), '[]') from ${relation.kind === "p" ? "" : "only "}${table})`;
  });
  return `select json_build_object(${rows.join(", ")}) as data`;
}

/** The names that a feed would touch, when it follows every column that can be. */
export function touched(before: TableRows, after: TableRows, catalogue: Catalogue): Set<string> {
  const names = new Set<string>();
  for (const table of Object.keys(before)) {
    const relation = catalogue.relation(undefined, table);
    if (typeof relation !== "object") throw new Error(`No table ${table}.`);
    const count = new Map<string, number>();
    for (const row of before[table]!) count.set(JSON.stringify(row), (count.get(JSON.stringify(row)) ?? 0) + 1);
    for (const row of after[table]!) count.set(JSON.stringify(row), (count.get(JSON.stringify(row)) ?? 0) - 1);
    for (const [text, more] of count) {
      if (more === 0) continue;
      names.add(`public.${table}`);
      const row = JSON.parse(text) as Texts;
      for (const { name, type, followable } of relation.columns) {
        const value = row[name];
        if (!followable || value === null || value === undefined) continue;
        const spelling = canonicalValue(type, value);
        names.add(spelling === undefined ? `public.${table}:*` : `public.${table}:${name}=${spelling}`);
      }
    }
  }
  return names;
}

/** What a run of the oracle saw. */
export interface OracleRun {
  readonly queries: number;
  /** Of them, with at least one dependency on rows. */
  readonly narrowed: number;
  /** How often an answer changed by a write. */
  readonly changes: number;
  /** How often an answer survived a write to one of its tables. */
  readonly survived: number;
  /** Queries that PostgreSQL itself refused: a scalar sub-select of two rows, a text that is no number. */
  readonly refused: number;
  /** Changes that no dependency foretold. */
  readonly failures: readonly { readonly query: OracleQuery; readonly write: string; readonly dependencies: readonly string[] }[];
}

export interface OracleOptions {
  readonly world: OracleWorld;
  readonly seed: number;
  readonly queries: number;
  readonly writesPerQuery: number;
  /** Ends the run at the first failure. */
  readonly untilFailure?: boolean;
  readonly plans?: (plans: StatementPlans) => Promise<StatementPlans>;
}

/** Runs the oracle on an empty database, and leaves it empty. */
export async function runOracle(client: pg.Client, options: OracleOptions): Promise<OracleRun> {
  const { world } = options;
  const asReader = world.reader === undefined ? "" : `set local role ${world.reader}`;
  // All in one transaction that is never committed: roles belong to the whole server.
  await client.query(`begin; set local client_min_messages = error; set local statement_timeout = '10s'; ${world.schema}`);
  if (asReader) await client.query(asReader);
  const catalogue = await loadCatalogue(client);
  await client.query("reset role");
  const made = await createStatementPlans(catalogue);
  const plans = options.plans ? await options.plans(made) : made;
  const grammar = world.grammar(randomOf(options.seed));
  const rowsText = everyRow(world.written, catalogue);
  const failures: OracleRun["failures"][number][] = [];
  let [queries, narrowed, changes, survived, refused] = [0, 0, 0, 0, 0];
  const answer = async ({ text, values, ordered }: OracleQuery) => {
    if (asReader) await client.query(asReader);
    const { rows, fields } = await client.query<unknown[]>({ text, values: [...values], rowMode: "array" });
    if (asReader) await client.query("reset role");
    const texts = rows.map((row) => JSON.stringify(row));
    return { rows, fields, all: JSON.stringify(ordered ? texts : texts.toSorted()) };
  };
  while (queries < options.queries) {
    const query = grammar.query();
    await client.query("savepoint query");
    let first: Awaited<ReturnType<typeof answer>>;
    try {
      first = await answer(query);
    } catch {
      refused++;
      await client.query("rollback to query");
      continue;
    }
    queries++;
    const plan = plans.planOf(query.text);
    if (!plan.read.cacheable) throw new Error(`The oracle's query is refused, ${plan.read.reason}: ${query.text}`);
    const dependencies = plan.dependencies({ values: query.values, rows: first.rows, fields: first.fields });
    const names = dependencies.flatMap((each) => namesOf(each, true));
    if (dependencies.some((each) => each.rows)) narrowed++;
    const read = [...new Set(dependencies.map((each) => each.table.name))];
    const { rows: before } = await client.query<{ data: TableRows }>(rowsText);
    await client.query("savepoint write");
    for (let i = 0; i < options.writesPerQuery; i++) {
      const write = grammar.write(read);
      try {
        await client.query(write);
        const { rows: after } = await client.query<{ data: TableRows }>(rowsText);
        const bumped = touched(before[0]!.data, after[0]!.data, catalogue);
        const foretold = names.some((each) => bumped.has(each));
        const second = bumped.size > 0 ? await answer(query) : first;
        if (second.all !== first.all) {
          changes++;
          if (!foretold) failures.push({ query, write, dependencies: names });
        } else if (!foretold && dependencies.some((each) => bumped.has(`public.${each.table.name}`))) survived++;
      } catch {
        // A foreign key refuses the write, or the answer is an error now: nothing would be kept.
      }
      await client.query("rollback to write");
    }
    await client.query("rollback to query; release query");
    if (options.untilFailure && failures.length > 0) break;
  }
  await client.query("rollback");
  return { queries, narrowed, changes, survived, refused, failures };
}
