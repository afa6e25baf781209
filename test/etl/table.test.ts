// Into PostgreSQL: all rows or none, by key, seen by whoever follows the changes.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { after, before, suite, test } from "node:test";
import { type Database, type Transaction, copyInto, createDatabase, sql } from "../../src/database/index.ts";
import { type Loaded, type TableTarget, etl } from "../../src/etl/index.ts";
import { eventually } from "../harness/patience.ts";
import { testDatabase } from "../harness/postgres.ts";
import { place } from "./directories.ts";

suite("a table as target", () => {
  let disposable: Awaited<ReturnType<typeof testDatabase>>;
  let database: Database;
  before(async () => {
    disposable = await testDatabase();
    database = await createDatabase({ url: disposable.url });
  });
  after(async () => {
    await database.close();
    await disposable[Symbol.asyncDispose]();
  });

  const table = async (
    name: string,
    columns = "id integer primary key check (id <> 13), note text, at timestamptz default 'epoch'",
  ) => {
    await database.query(sql`drop table if exists ${sql.identifier(name)}`);
    // A name and its columns in a test's own words.
    await database.pool.query(`create table "${name}" (${columns})`);
  };
  const rowsOf = (name: string) => database.many(sql`select * from ${sql.identifier(name)} order by 1`);
  const load = (csv: string, target: Omit<TableTarget, "database">, report?: string) =>
    etl({
      source: { stream: Readable.from([csv]), format: "csv", columns: { id: "INTEGER NOT NULL", note: "VARCHAR" } },
      target: { database, ...target },
      ...(report !== undefined && { report }),
    });

  test("every value arrives as it is, null and the empty text apart", async () => {
    await using at = await place();
    await table("things", "n bigint, d double precision, c numeric, b boolean, t timestamp, y date, s text, j jsonb, x bytea");
    const lines = [
      '9007199254740993,0.1,1.50,true,2024-01-01 10:00:00.5,2024-02-29,"a ""b""\n\\.\n,\\N",1',
      ',,,,,,"",',
      "-1,NaN,-2,false,1969-12-31 23:59:59,0044-03-15,é😀,3",
    ];
    const result = await etl({
      source: {
        file: await at.write("in.csv", `n,d,c,b,t,y,s,k\n${lines.join("\n")}\n`),
        format: "csv",
        columns: {
          n: "BIGINT",
          d: "DOUBLE",
          c: "DECIMAL(10,2)",
          b: "BOOLEAN",
          t: "TIMESTAMP",
          y: "DATE",
          s: "VARCHAR",
          k: "INTEGER",
        },
      },
      transform: sql`select * exclude (k), {k: k, l: [k]} as j, encode(s) as x from input`,
      target: { database, table: "public.things" },
    });
    const rows = await database.many(
      sql`select n::text, d::text, c::text, b, t::text, y::text, s, j, encode(x, 'hex') as x from things`,
    );
    const hex = (text: string) => Buffer.from(text).toString("hex");
    const odd = 'a "b"\n\\.\n,\\N';
    assert.deepEqual(rows, [
      {
        n: "9007199254740993",
        d: "0.1",
        c: "1.50",
        b: true,
        t: "2024-01-01 10:00:00.5",
        y: "2024-02-29",
        s: odd,
        j: { k: 1, l: [1] },
        x: hex(odd),
      },
      { n: null, d: null, c: null, b: null, t: null, y: null, s: "", j: { k: null, l: [null] }, x: "" },
      {
        n: "-1",
        d: "NaN",
        c: "-2.00",
        b: false,
        t: "1969-12-31 23:59:59",
        y: "0044-03-15",
        s: "é😀",
        j: { k: 3, l: [3] },
        x: hex("é😀"),
      },
    ]);
    assert.deepEqual([result.rowsWritten, result.rowsChanged], [3, 3]);
  });

  test("a row that PostgreSQL refuses takes all of them back, and the report with it", async () => {
    await using at = await place();
    await table("items");
    await load("id,note\n1,kept\n", { table: "items" });
    for (const csv of ["id,note\n2,a\n13,b\n", "id,note\n3,a\n1,twice\nx,y\n"]) {
      await assert.rejects(load(csv, { table: "items" }, at.file("report.ndjson")), { code: "MILLRACE_ETL_TARGET_REFUSED" });
    }
    assert.deepEqual(
      (await rowsOf("items")).map(({ id }) => id),
      [1],
    );
    assert.deepEqual(await at.names(), []);
  });

  test("by key a run can be repeated: it inserts, changes what differs, touches nothing else, and the last of equals counts", async () => {
    await using at = await place();
    await table("items");
    const update = { table: "items", onConflict: { key: ["id"], action: "update" } } as const;
    const csv = "id,note\n1,a\n2,b\n1,c\n3,\n2,b\n";
    const first = await load(csv, update, at.file("report.ndjson"));
    assert.deepEqual([first.rowsRead, first.rowsWritten, first.rowsRejected, first.rowsChanged], [5, 3, 2, 3]);
    assert.deepEqual(await at.report(), [
      { line: 2, reason: "line 4 has the same id, and the last one counts" },
      { line: 3, reason: "line 6 has the same id, and the last one counts" },
    ]);
    const versions = () => database.many(sql`select id, note, xmin::text from items order by id`);
    const before = await versions();
    assert.deepEqual(
      before.map(({ id, note }) => [id, note]),
      [
        [1, "c"],
        [2, "b"],
        [3, null],
      ],
    );
    assert.equal((await load(csv, update)).rowsChanged, 0);
    assert.deepEqual(await versions(), before);

    assert.equal((await load("id,note\n3,d\n4,e\n1,c\n", update)).rowsChanged, 2);
    assert.equal(
      (await load("id,note\n3,x\n5,f\n", { table: "items", onConflict: { key: ["id"], action: "keep" } })).rowsChanged,
      1,
    );
    assert.deepEqual(
      (await rowsOf("items")).map(({ id, note }) => [id, note]),
      [
        [1, "c"],
        [2, "b"],
        [3, "d"],
        [4, "e"],
        [5, "f"],
      ],
    );
  });

  test("what belongs to the rows is in their transaction: it knows what has changed, and takes them back when it fails", async () => {
    await using at = await place();
    await table("items");
    await table("notes", "id integer, rows integer");
    const seen: Omit<Loaded, "changed">[] = [];
    const noting: Pick<TableTarget, "inTransaction"> = {
      async inTransaction(tx, { changed, ...counts }) {
        seen.push(counts);
        await tx.query(sql`insert into notes select id, ${counts.rowsChanged} from ${changed!}`);
        assert.equal((await at.names()).includes("report.ndjson"), true);
      },
    };
    const update = { table: "items", onConflict: { key: ["id"], action: "update" } } as const;
    await load("id,note\n1,a\n2,b\nx,y\n", { ...update, ...noting }, at.file("report.ndjson"));
    await load("id,note\n1,a\n2,changed\n3,new\n", { ...update, ...noting }, at.file("report.ndjson"));
    assert.deepEqual(await rowsOf("notes"), [
      { id: 1, rows: 2 },
      { id: 2, rows: 2 },
      { id: 2, rows: 2 },
      { id: 3, rows: 2 },
    ]);
    assert.deepEqual(seen[0], { rowsRead: 3, rowsRejected: 1, rowsWritten: 2, rowsChanged: 2 });

    await table("plain");
    const refusing = { inTransaction: (tx: Transaction) => tx.query(sql`select 1 / 0`).then(() => {}) };
    await assert.rejects(load("id,note\n1,a\n", { table: "plain", ...refusing }), { code: "22012" });
    await assert.rejects(load("id,note\n9,a\n", { ...update, ...refusing }), { code: "22012" });
    assert.deepEqual([(await rowsOf("plain")).length, (await rowsOf("items")).length], [0, 3]);
    const counting = {
      inTransaction: async (_: Transaction, { changed, rowsChanged }: Loaded) =>
        assert.deepEqual([changed, rowsChanged], [undefined, 1]),
    };
    await load("id,note\n1,a\n", { table: "plain", ...counting });
  });

  test("a table or column that is not there is said before anything is read", async () => {
    await table("items");
    const stream = new Readable({ read() {} }); // would never end
    const source = { stream, format: "csv" } as const;
    await assert.rejects(etl({ source, target: { database, table: "nowhere" } }), { code: "MILLRACE_ETL_TARGET_MISSING" });
    assert.ok(stream.destroyed);
    await assert.rejects(
      load("id,note\n1,a\n", { table: "items", onConflict: { key: ["uid"], action: "keep" } }),
      /the key's "uid" is missing/,
    );
    const other = etl({
      source: { stream: Readable.from(["a,b\n1,2\n"]), format: "csv" },
      transform: sql`select a as id, b as nota from input`,
      target: { database, table: "items" },
    });
    await assert.rejects(other, { code: "MILLRACE_ETL_TARGET_COLUMNS", message: /it has no column "nota"/ });
  });

  test("an abort while PostgreSQL waits for a lock ends the run at once, and nothing is written", async () => {
    await table("items");
    await using at = await place();
    const leaving = new AbortController();
    await database.transaction(async (tx) => {
      await tx.query(sql`lock table items in exclusive mode`);
      const run = database.outsideTransaction(() =>
        etl({
          source: { stream: Readable.from(["id,note\n1,a\n"]), format: "csv", columns: { id: "INTEGER", note: "VARCHAR" } },
          target: { database, table: "items" },
          signal: leaving.signal,
          directory: at.path,
          report: at.file("report.ndjson"),
        }),
      );
      run.catch(() => {});
      await eventually("the run waits for the lock", async () => {
        const locks = sql`select 1 from pg_locks where not granted and relation = 'items'::regclass`;
        return (await tx.many(locks)).length > 0;
      });
      const leftMs = performance.now();
      leaving.abort(new Error("enough"));
      await assert.rejects(run, /enough/);
      assert.ok(performance.now() - leftMs < 5_000);
    });
    assert.deepEqual(await rowsOf("items"), []);
    assert.deepEqual(await at.names(), []);
  });
});

suite("copyInto", () => {
  let disposable: Awaited<ReturnType<typeof testDatabase>>;
  let database: Database;
  before(async () => {
    disposable = await testDatabase();
    database = await createDatabase({ url: disposable.url });
    await database.query(sql`create table numbers (n integer)`);
  });
  after(async () => {
    await database.close();
    await disposable[Symbol.asyncDispose]();
  });
  const copy = sql`copy numbers from stdin (format csv)`;
  const count = async () => (await database.one(sql<{ n: number }>`select count(*)::int as n from numbers`)).n;

  test("sends as fast as the server takes it, among other statements of the transaction", async () => {
    async function* rows() {
      for (let part = 0; part < 200; part++)
        yield Buffer.from(Array.from({ length: 5_000 }, (_, n) => `${part * 5_000 + n}\n`).join(""));
    }
    const sums = await database.transaction(async (tx) => {
      const sent = await copyInto(tx, copy, rows());
      return [sent, await tx.one(sql`select count(*)::int as n, sum(n)::text as sum from numbers`)];
    });
    assert.deepEqual(sums, [1_000_000, { n: 1_000_000, sum: "499999500000" }]);
    await database.query(sql`truncate numbers`);
  });

  test("a wrong row, a source that fails and an abort each end it with their own reason; the connection stays good", async () => {
    let closed = 0;
    async function* source(parts: readonly string[], then: () => Promise<void>) {
      try {
        for (const part of parts) yield Buffer.from(part);
        await then();
      } finally {
        closed++;
      }
    }
    const run = (parts: readonly string[], then = async () => {}, signal?: AbortSignal) =>
      database.transaction((tx) => copyInto(tx, copy, source(parts, then), { signal }));
    await assert.rejects(run(["1\n", "two\n"]), { code: "22P02" });
    await assert.rejects(
      run(["1\n"], () => Promise.reject(new Error("the source broke"))),
      /the source broke/,
    );
    const leaving = new AbortController();
    const never = run(["1\n"], () => new Promise(() => setTimeout(() => leaving.abort(new Error("enough")), 50)), leaving.signal);
    await assert.rejects(never, /enough/);
    assert.equal(await count(), 0);
    assert.equal(await run(["1\n2\n", "", "3"]), 3);
    assert.ok(closed >= 3);
    assert.equal(database.pool.totalCount <= 5, true);
  });
});
