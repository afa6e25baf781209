// The same pages of one list, by position, by counting, and by the condition that people write by hand.

import pg from "pg";
import { type Database, createDatabase, sql } from "../../src/index.ts";
import { benchDatabase } from "../harness/database.ts";
import type { BenchOptions } from "../harness/options.ts";
import { median, printTable } from "../harness/rounds.ts";

const perPage = 20;
const depths = [1, 100, 10_000, 100_000];

/** Three rows share each moment, so that the second column decides. */
const seed = (rows: number): string[] => [
  "create extension pg_stat_statements",
  `create table readings as
    select i as id, timestamptz '2024-01-01 00:00:00+00' + (i / 3) * interval '1 second' as created_at, 'reading ' || md5(i::text) as text
    from generate_series(1, ${rows}) as i`,
  "alter table readings alter id set not null, alter created_at set not null, add primary key (id)",
  "create index on readings (created_at desc, id desc)",
  "vacuum (analyze, freeze) readings",
  "checkpoint",
];

interface Reading {
  readonly id: number;
  readonly created_at: Date;
  readonly text: string;
}

const list = sql<Reading>`select id, created_at, text from readings`;
const orderBy = ["created_at desc", "id desc"];

/** The cursor behind the first `rows` rows, found as a client would, in larger pages. */
async function cursorBehind(db: Database, rows: number): Promise<string | undefined> {
  let cursor: string | undefined;
  for (let left = rows; left > 0;) {
    const limit = Math.min(left, 10_000);
    const { page } = await db.page({ orderBy, limit, cursor }, list);
    cursor = page.next ?? undefined;
    left -= limit;
  }
  return cursor;
}

/** Milliseconds (median) of one page and the buffers that it touches, by way of reading and depth. */
export async function run({ rounds = 11, rows = 2_000_000, only }: BenchOptions): Promise<unknown> {
  await using database = await benchDatabase(seed(rows));
  await using db = await createDatabase({ url: database.url });
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const results: { page: number; way: string; ms: number[]; buffers: number }[] = [];
  try {
    for (const depth of depths.filter((each) => each * perPage <= rows)) {
      const skipped = (depth - 1) * perPage;
      const cursor = await cursorBehind(db, skipped);
      const last =
        skipped > 0
          ? await db.one(sql<Reading>`select * from readings order by created_at desc, id desc limit 1 offset ${skipped - 1}`)
          : undefined;
      const ways: Record<string, () => Promise<readonly { id: number }[]>> = {
        "db.page": async () => (await db.page({ orderBy, limit: perPage, cursor }, list)).data,
        OFFSET: () => db.many(sql<Reading>`${list} order by created_at desc, id desc limit ${perPage} offset ${skipped}`),
        "OR expansion": () =>
          last === undefined
            ? db.many(sql<Reading>`${list} order by created_at desc, id desc limit ${perPage}`)
            : db.many(
                sql<Reading>`${list} where created_at < ${last.created_at} or (created_at = ${last.created_at} and id < ${last.id}) order by created_at desc, id desc limit ${perPage}`,
              ),
      };
      const chosen = Object.entries(ways).filter(([name]) => !only || only.includes(name));
      const expected = JSON.stringify((await ways["OFFSET"]!()).map(({ id }) => id));
      const times = new Map(chosen.map(([name]) => [name, [] as number[]]));
      const buffers = new Map<string, number>();
      for (const [name, read] of chosen) {
        for (let i = 0; i < 6; i++) {
          const ids = JSON.stringify((await read()).map(({ id }) => id));
          if (ids !== expected) throw new Error(`${name} gives other rows on page ${depth}.`);
        }
        await client.query("select pg_stat_statements_reset()");
        await read();
        const { rows: counted } = await client.query<{ buffers: string }>(
          "select sum(shared_blks_hit + shared_blks_read)::text as buffers from pg_stat_statements where query like '%readings%' and query not like '%pg_stat_statements%'",
        );
        buffers.set(name, Number(counted[0]!.buffers));
      }
      for (let round = 0; round < rounds; round++) {
        for (const [name, read] of chosen) {
          const startedMs = performance.now();
          await read();
          times.get(name)!.push(performance.now() - startedMs);
        }
      }
      for (const [name] of chosen) results.push({ page: depth, way: name, ms: times.get(name)!, buffers: buffers.get(name)! });
    }
  } finally {
    await client.end();
  }
  const cell = (page: number, way: string): string => {
    const found = results.find((result) => result.page === page && result.way === way);
    return found ? `${median(found.ms).toFixed(2)} ms, ${found.buffers}` : "–";
  };
  const pages = [...new Set(results.map(({ page }) => page))];
  const ways = [...new Set(results.map(({ way }) => way))];
  printTable(
    ["median ms, buffers", ...pages.map((page) => `page ${page.toLocaleString("en")}`)],
    ways.map((way) => [way, ...pages.map((page) => cell(page, way))]),
  );
  return results;
}
