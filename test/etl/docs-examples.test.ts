// What docs/etl.md shows, as it is shown there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDatabase, sql } from "../../src/database/index.ts";
import { etl } from "../../src/etl/index.ts";
import { testDatabase } from "../harness/postgres.ts";
import { place } from "./directories.ts";

test("a CSV file into a table", async () => {
  await using at = await place();
  await using disposable = await testDatabase();
  await using database = await createDatabase({ url: disposable.url });
  await database.query(sql`create table readings (station text, day date, temp double precision, primary key (station, day))`);
  const path = await at.write("readings.csv", "station,day,fahrenheit\nA,2024-07-01,77\nB,2024-07-01,500\nA,2024-07-02,hot\n");
  const report = at.file("bad-rows.ndjson");
  const { signal } = new AbortController();
  const shares: number[] = [];
  const progress = (share: number) => shares.push(share);

  // #region table
  const { rowsRead, rowsChanged, rowsRejected } = await etl({
    source: {
      file: path,
      format: "csv",
      columns: { station: "VARCHAR NOT NULL", day: "DATE NOT NULL", fahrenheit: "DOUBLE" },
    },
    transform: sql`
      select station, day, round((fahrenheit - 32) / 1.8, 1) as temp, _line,
        case when fahrenheit > 140 then 'it is hotter than it ever was' end as _reject
      from input`,
    target: { database, table: "readings", onConflict: { key: ["station", "day"], action: "update" } },
    report,
    signal,
    onProgress: ({ fraction }) => progress(fraction),
  });
  // #endregion

  assert.deepEqual([rowsRead, rowsChanged, rowsRejected], [3, 1, 2]);
  assert.deepEqual(await database.many(sql`select * from readings`), [{ station: "A", day: "2024-07-01", temp: 25 }]);
  assert.deepEqual(await at.report("bad-rows.ndjson"), [
    { line: 3, reason: "it is hotter than it ever was" },
    { line: 4, column: "fahrenheit", value: "hot", reason: '"hot" is no DOUBLE' },
  ]);
  assert.ok(shares.every((share) => share >= 0 && share <= 1));
});

test("a generator in a module, to Parquet", async () => {
  await using at = await place();
  const day = Array.from({ length: 24 }, (_, hour) => hour + 0.5).join(";");
  const file = await at.write("lines.csv", `station,day,hours\nA,2024-07-01,${day}\nB,2024-07-01,1;2\n`);
  const target = at.file("hours.parquet");

  // #region module
  const { rowsWritten, rowsRejected } = await etl({
    source: { file, format: "csv", columns: { station: "VARCHAR", day: "DATE", hours: "VARCHAR NOT NULL" } },
    transform: {
      module: new URL("./fixtures/readings.ts", import.meta.url),
      name: "perHour",
      columns: { station: "VARCHAR", day: "DATE", hour: "TINYINT", temp: "DOUBLE" },
    },
    target: { file: target, format: "parquet" },
  });
  // #endregion
  assert.deepEqual([rowsWritten, rowsRejected], [24, 1]);
});
