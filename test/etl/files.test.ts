// Files in, files out: what is read, what is refused and where the report says it was.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { suite, test } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { sql } from "../../src/database/index.ts";
import { type EtlOptions, etl, etlProgressChannel, etlRunChannel } from "../../src/etl/index.ts";
import { place } from "./directories.ts";

const readings = { id: "INTEGER NOT NULL", day: "DATE NOT NULL", temp: "DOUBLE" };

suite("CSV in", () => {
  test("good rows go out, bad ones into the report with line and reason, whatever the file has in it", async () => {
    await using at = await place();
    const file = await at.write(
      "in.csv",
      Buffer.concat([
        Buffer.from(
          '\uFEFFid,day,temp,note\r\n1,2024-02-29,1.5,"a, ""b"""\r\n2,2023-02-29,1,x\r\n3,2024-01-01,,"two\r\nlines"\r\nx,2024-01-01,2,y\r\n' +
            '5,2024-01-01,2\r\n\r\n6,2024-01-01,6,an "inch\r\n7,2024-01-01,1.5.5,z\r\n1.5,2024-01-01,1,z\r\n,2024-01-01,1,z\r\n8,2024-01-01 12:00,1,z\r\n',
        ),
        Buffer.from("9,2024-01-01,9,M\xfcnchen\r\n", "latin1"),
        Buffer.from('10,2024-01-01,1e1,"unclosed\r\n11,2024-01-01,11,é'),
      ]),
    );
    const result = await etl({
      source: { file, format: "csv", columns: { ...readings, note: "VARCHAR" } },
      target: { file: at.file("out.ndjson"), format: "ndjson" },
      report: at.file("report.ndjson"),
    });
    assert.deepEqual(
      (await at.text("out.ndjson"))
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
      [
        { id: 1, day: "2024-02-29", temp: 1.5, note: 'a, "b"' },
        { id: 3, day: "2024-01-01", temp: null, note: "two\r\nlines" },
        { id: 11, day: "2024-01-01", temp: 11, note: "é" },
      ],
    );
    assert.deepEqual(await at.report(), [
      { line: 3, column: "day", value: "2023-02-29", reason: '"2023-02-29" is no DATE' },
      { line: 6, column: "id", value: "x", reason: '"x" is no INTEGER' },
      { line: 7, reason: "it has 3 fields where 4 are expected", text: "5,2024-01-01,2" },
      { line: 9, reason: "a quote stands inside a field that is not quoted", text: '6,2024-01-01,6,an "inch' },
      { line: 10, column: "temp", value: "1.5.5", reason: '"1.5.5" is no DOUBLE' },
      { line: 11, column: "id", value: "1.5", reason: '"1.5" is no INTEGER' },
      { line: 12, column: "id", reason: "a value is required" },
      { line: 13, column: "day", value: "2024-01-01 12:00", reason: '"2024-01-01 12:00" is no DATE' },
      { line: 14, reason: "it is not in UTF-8", text: "9,2024-01-01,9,M\uFFFDnchen" },
      { line: 15, reason: "a quote is not closed", text: '10,2024-01-01,1e1,"unclosed' },
    ]);
    assert.deepEqual([result.rowsRead, result.rowsWritten, result.rowsRejected], [13, 3, 10]);
    assert.deepEqual(await at.names(), ["in.csv", "out.ndjson", "report.ndjson"]);
  });

  test("rows out and rows rejected are the rows in, and each keeps its values: for any file", async () => {
    await using at = await place();
    const text = fc.string({
      unit: fc.constantFrom("a", "é", "😀", ",", '"', "\n", "\r\n", " ", ";", "'", "\\", "NULL", "0"),
      maxLength: 6,
    });
    // A bad row is one of the known kinds; what a quote does that is never closed depends on what follows (csv-scanner.test.ts).
    const good = fc.tuple(text, fc.option(fc.integer(), { nil: undefined })).map(([note, n]) => ({ note, n }));
    const bad = fc.constantFrom("1", "x,y,z", '"a"b,1', "a,1,2", 'a"b,3', "word,word", "a\rb,1", "\0,1");
    const rows = fc.sample(fc.oneof({ weight: 5, arbitrary: good }, { weight: 1, arbitrary: bad }), { numRuns: 20_000, seed: 7 });
    const quote = (note: string) => (/[",\r\n]/.test(note) || note === "" ? `"${note.replaceAll('"', '""')}"` : note);
    const lines = rows.map((row) => (typeof row === "string" ? row : `${quote(row.note)},${row.n ?? ""}`));
    const file = await at.write("in.csv", `note,n\n${lines.join("\n")}\n`);
    const result = await etl({
      source: { file, format: "csv", columns: { note: "VARCHAR", n: "INTEGER" } },
      target: { file: at.file("out.ndjson"), format: "ndjson" },
      report: at.file("report.ndjson"),
      maxRejects: 100_000,
    });
    const expected = rows.filter((row) => typeof row !== "string");
    const found = (await at.text("out.ndjson"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { note: string; n: number | null });
    assert.deepEqual(
      found,
      expected.map(({ note, n }) => ({ note, n: n ?? null })),
    );
    assert.deepEqual([result.rowsRead, result.rowsRejected], [rows.length, rows.length - expected.length]);

    // Each line of the report is the line of a bad row.
    let line = 2;
    const badLines = rows.flatMap((row, index) => {
      const at = line;
      line += lines[index]!.split("\n").length;
      return typeof row === "string" ? [at] : [];
    });
    assert.deepEqual(
      (await at.report()).map((row) => row.line),
      badLines,
    );
  });

  test("more bad rows than are put up with fail the run: nothing is written, and the report has the first of them", async () => {
    await using at = await place();
    const file = await at.write("in.csv", `id\n${"x\n".repeat(50)}`);
    const run = (maxRejects: number) =>
      etl({
        source: { file, format: "csv", columns: { id: "INTEGER" } },
        target: { file: at.file("out.csv"), format: "csv" },
        report: at.file("report.ndjson"),
        maxRejects,
      });
    await assert.rejects(run(9), {
      code: "MILLRACE_ETL_TOO_MANY_REJECTS",
      message: 'More than 9 rows are bad, so nothing was written. The first, in line 2: id: "x" is no INTEGER.',
    });
    assert.equal((await at.report()).length, 9);
    assert.deepEqual(await at.names(), ["in.csv", "report.ndjson"]);
    assert.equal((await run(50)).rowsRejected, 50);
  });

  const refused: readonly [string, string | Uint8Array, Partial<EtlOptions["source"]>, RegExp][] = [
    ["an empty file", "", {}, /in\.csv cannot be read: it is empty/],
    ["only empty lines", "\n\r\n\n", {}, /no header, only empty lines/],
    ["a missing column", "id,day\n1,2024-01-01\n", {}, /missing are "temp"/],
    ["a column too many", "id,day,temp,more\n", {}, /unknown are "more"/],
    ["a column twice", "id,day,temp,id\n", {}, /repeated are "id"/],
    ["UTF-16", Buffer.from("\uFEFFid,day,temp\n", "utf16le"), {}, /it is in UTF-16/],
    ["gzip", Buffer.from([0x1f, 0x8b, 8, 0]), {}, /compressed with gzip/],
    ["line ends of old", "id,day,temp\r1,2024-01-01,2\r", {}, /first line is no header: a carriage return/],
    ["a directory", "", { file: "/" }, /it is no file/],
    ["no file at all", "", { file: "/nowhere/in.csv" }, /there is no such file/],
    ["Parquet that is none", "PAR1 and nothing", { format: "parquet" }, /it is no Parquet file/],
  ];
  for (const [name, content, source, message] of refused) {
    test(`${name} is refused with its reason`, async () => {
      await using at = await place();
      const file = await at.write("in.csv", content);
      const run = etl({
        source: { file, format: "csv", columns: readings, ...source },
        target: { file: at.file("out.csv"), format: "csv" },
        directory: at.path,
      });
      await assert.rejects(run, message);
      assert.deepEqual(await at.names(), ["in.csv"]);
    });
  }

  test("a header alone is a table without rows; columns come in any order; more of them are left out when asked", async () => {
    await using at = await place();
    const file = await at.write("in.csv", "temp;x;id;day\n");
    const source = { file, format: "csv", columns: readings, delimiter: ";", extraColumns: "ignore" } as const;
    const target = { file: at.file("out.csv"), format: "csv" } as const;
    assert.equal((await etl({ source, target })).rowsWritten, 0);
    assert.equal((await at.text("out.csv")).trim(), "id,day,temp");
    await at.write("in.csv", 'temp;x;id;day\n1.5;"a;b";7;2024-01-01\n');
    await etl({ source, target });
    assert.equal(await at.text("out.csv"), "id,day,temp\n7,2024-01-01,1.5\n");
  });

  test("without declared columns everything is text, by the header; without a header columns have their order", async () => {
    await using at = await place();
    const file = await at.write("in.csv", '007,"",\n8,x,2\n');
    const target = { file: at.file("out.ndjson"), format: "ndjson" } as const;
    await etl({ source: { file: await at.write("h.csv", 'a,b,c\n007,"",\n'), format: "csv" }, target });
    assert.deepEqual(JSON.parse(await at.text("out.ndjson")), { a: "007", b: "", c: null });
    await etl({ source: { file, format: "csv", header: false, columns: { a: "INTEGER", b: "VARCHAR", c: "SMALLINT" } }, target });
    assert.equal(await at.text("out.ndjson"), '{"a":7,"b":"","c":null}\n{"a":8,"b":"x","c":2}\n');
  });

  test("a huge field is bounded, its row reported, and the rest is read", async () => {
    await using at = await place();
    const huge = "x".repeat(3_000_000);
    const file = await at.write("in.csv", `id,note\n1,${huge}\n2,"${huge}"\n3,ok\n4,${"y".repeat(900_000)}\n`);
    const result = await etl({
      source: { file, format: "csv", columns: { id: "INTEGER", note: "VARCHAR" } },
      transform: sql`select id, length(note) as n from input`,
      target: { file: at.file("out.csv"), format: "csv" },
      report: at.file("report.ndjson"),
    });
    assert.equal(await at.text("out.csv"), "id,n\n3,2\n4,900000\n");
    assert.deepEqual(
      (await at.report()).map(({ line, reason }) => [line, reason]),
      [
        [2, "it is longer than 1048576 bytes"],
        [3, "it is longer than 1048576 bytes"],
      ],
    );
    assert.equal(result.rowsRead, 4);
  });
});

suite("other formats", () => {
  test("NDJSON in: what is no object, no value of its type or no declared field is reported by line", async () => {
    await using at = await place();
    const lines = [
      '{"id":1,"day":"2024-01-01","temp":1.5}',
      '{"id":"2","day":"2024-01-02"}',
      "not json",
      "[1]",
      '{"id":3,"day":"2024-01-03","temp":"warm"}',
      '{"id":4,"day":null}',
      '{"id":5,"day":"2024-01-05","extra":1}',
      "",
      '{"id":6,"day":"2024-01-06","temp":null}',
      '{"id":1.5,"day":"2024-01-06"}',
      '{"id":7,"day":"2024-01-07"',
    ];
    const stream = Readable.from([Buffer.from(lines.join("\r\n"))]);
    const result = await etl({
      source: { stream, format: "ndjson", columns: readings },
      target: { file: at.file("out.csv"), format: "csv" },
      report: at.file("report.ndjson"),
    });
    assert.equal(await at.text("out.csv"), "id,day,temp\n1,2024-01-01,1.5\n2,2024-01-02,\n6,2024-01-06,\n");
    assert.deepEqual(
      (await at.report()).map(({ line, column, reason }) => [line, column, reason]),
      [
        [3, undefined, "it is not JSON"],
        [4, undefined, "it is no JSON object"],
        [5, "temp", '"warm" is no DOUBLE'],
        [6, "day", "a value is required"],
        [7, undefined, "it has the unknown field extra"],
        [10, "id", '"1.5" is no INTEGER'],
        [11, undefined, "it is not JSON"],
      ],
    );
    assert.deepEqual([result.rowsRead, result.rowsWritten], [10, 3]);
  });

  test("Parquet out and in again is the same, with its types, and another type is judged row by row", async () => {
    await using at = await place();
    const columns = { id: "BIGINT", price: "DECIMAL(10,2)", at: "TIMESTAMP", ok: "BOOLEAN", note: "VARCHAR" };
    const csv = 'id,price,at,ok,note\n9007199254740993,1.50,2024-01-01 10:00:00.123456,true,"a\nb"\n2,,,,\n';
    const parquet = at.file("weird [1] *'.parquet");
    await etl({
      source: { file: await at.write("in.csv", csv), format: "csv", columns },
      target: { file: parquet, format: "parquet" },
    });
    await etl({ source: { file: parquet, format: "parquet" }, target: { file: at.file("out.csv"), format: "csv" } });
    assert.equal(await at.text("out.csv"), csv);
    const result = await etl({
      source: { file: parquet, format: "parquet", columns: { id: "INTEGER" }, extraColumns: "ignore" },
      target: { file: at.file("out.csv"), format: "csv" },
      report: at.file("report.ndjson"),
    });
    assert.equal(await at.text("out.csv"), "id\n2\n");
    assert.deepEqual(
      [result.rowsRead, await at.report()],
      [2, [{ line: 1, column: "id", value: "9007199254740993", reason: '"9007199254740993" is no INTEGER' }]],
    );
  });
});

suite("transforms", () => {
  const input = "id,day,temps\n1,2024-01-01,1 2.5\n2,2024-01-02,none\n3,2024-01-03,4 hot\n";
  const columns = { id: "INTEGER", day: "DATE", temps: "VARCHAR" };

  test("SQL joins further tables, takes values, and rejects a row by its column _reject", async () => {
    await using at = await place();
    const file = await at.write("in.csv", "city,temp\nOslo,-3\nRome,31\nAtlantis,20\nRome,99\n");
    const names = Readable.from(['{"name":"Oslo","id":7}\n{"name":"Rome","id":9}\n']);
    const limit = 60;
    const result = await etl({
      source: { file, format: "csv", columns: { city: "VARCHAR", temp: "INTEGER" } },
      tables: { cities: { stream: names, format: "ndjson", columns: { name: "VARCHAR NOT NULL", id: "INTEGER NOT NULL" } } },
      transform: sql`
        select cities.id, temp, _line,
          case when cities.id is null then 'there is no city named ' || city when temp > ${limit} then 'it is too hot' end as _reject
        from input left join cities on cities.name = city -- every row once
        order by temp`,
      target: { file: at.file("out.csv"), format: "csv" },
      report: at.file("report.ndjson"),
    });
    assert.equal(await at.text("out.csv"), "id,temp\n7,-3\n9,31\n");
    assert.deepEqual(await at.report(), [
      { line: 4, reason: "there is no city named Atlantis" },
      { line: 5, reason: "it is too hot" },
    ]);
    assert.deepEqual([result.rowsRead, result.rowsWritten, result.rowsRejected], [4, 2, 2]);
  });

  test("a generator makes several rows of one, rejects one, and what it makes is judged like any input", async () => {
    await using at = await place();
    const result = await etl({
      source: { file: await at.write("in.csv", input), format: "csv", columns },
      transform: {
        module: new URL("./fixtures/transforms.ts", import.meta.url),
        name: "perTemperature",
        columns: { id: "INTEGER", day: "DATE", temp: "DOUBLE", line: "INTEGER" },
      },
      target: { file: at.file("out.csv"), format: "csv" },
      report: at.file("report.ndjson"),
    });
    assert.equal(await at.text("out.csv"), "id,day,temp,line\n1,2024-01-01,1.0,2\n1,2024-01-01,2.5,2\n3,2024-01-03,4.0,4\n");
    assert.deepEqual(await at.report(), [
      { line: 3, reason: "there is no temperature" },
      { line: 4, column: "temp", value: "hot", reason: '"hot" is no DOUBLE' },
    ]);
    assert.deepEqual([result.rowsRead, result.rowsWritten, result.rowsRejected], [3, 3, 2]);
  });

  test("a generator gets numbers, texts, booleans, null and bigint, and everything else as text", async () => {
    await using at = await place();
    const all = {
      i: "INTEGER",
      b: "BIGINT",
      d: "DOUBLE",
      o: "BOOLEAN",
      t: "TIMESTAMP",
      y: "DATE",
      c: "DECIMAL(9,3)",
      s: "VARCHAR",
      u: "TIME",
    };
    const rows = [
      "1,2,0.5,true,1969-12-31 23:59:59.5,1969-12-31,1.5,x,10:00:00",
      "1,2,0.5,false,2024-02-29 00:00:00,0044-03-15,1.5,x,10:00:00",
      ",,,,,,,,",
    ];
    await etl({
      source: {
        file: await at.write("in.csv", `${Object.keys(all).join(",")}\n${rows.join("\n")}\n`),
        format: "csv",
        columns: all,
      },
      transform: {
        module: new URL("./fixtures/transforms.ts", import.meta.url),
        name: "values",
        columns: { types: "VARCHAR", all: "VARCHAR" },
      },
      target: { file: at.file("out.ndjson"), format: "ndjson" },
    });
    const found = (await at.text("out.ndjson"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { types: string; all: string });
    assert.deepEqual(found.map(({ types }) => types)[0], "number bigint number boolean string string string string string");
    assert.deepEqual(
      found.map(({ all }) => Object.values(JSON.parse(all) as object)),
      [
        [1, "2n", 0.5, true, "1969-12-31 23:59:59.5", "1969-12-31", "1.500", "x", "10:00:00"],
        [1, "2n", 0.5, false, "2024-02-29 00:00:00", "0044-03-15", "1.500", "x", "10:00:00"],
        [null, null, null, null, null, null, null, null, null],
      ],
    );
  });

  const failing: readonly [string, EtlOptions["transform"], RegExp][] = [
    ["SQL with a mistake", sql`select nothing from input`, /The transform failed.*nothing/s],
    ["SQL that fails on a row", sql`select cast(temps as integer) as n from input`, /Could not convert string '1 2\.5'/],
    ["SQL that reads a file", sql`select * from read_csv('/etc/passwd')`, /file system operations are disabled/],
    ["SQL that would load an extension", sql`select * from read_xlsx('a.xlsx')`, /The transform failed/],
    ["a generator that throws", moduleTransform("throwing"), /TypeError: this row is beyond me/],
    ["a generator that is not there", moduleTransform("missing"), /exports no function named missing/],
    ["a generator with a column of its own", moduleTransform("foreignColumn"), /a row with "extra"/],
  ];
  for (const [name, transform, message] of failing) {
    test(`${name} fails the run, and nothing is left`, async () => {
      await using at = await place();
      const file = await at.write("in.csv", input);
      const target = { file: at.file("out.csv"), format: "csv" } as const;
      await at.write("out.csv", "what was there before");
      const run = etl({
        source: { file, format: "csv", columns },
        transform: transform!,
        target,
        report: at.file("r.ndjson"),
        directory: at.path,
      });
      await assert.rejects(run, (error: { code: string; message: string }) => {
        assert.equal(error.code, "MILLRACE_ETL_TRANSFORM_FAILED");
        assert.match(error.message, message);
        return true;
      });
      assert.deepEqual(await at.names(), ["in.csv", "out.csv"]);
      assert.equal(await at.text("out.csv"), "what was there before");
    });
  }

  function moduleTransform(name: string): EtlOptions["transform"] {
    return { module: new URL("./fixtures/transforms.ts", import.meta.url), name, columns };
  }
});

test("progress only grows, and the end is said once", async () => {
  await using at = await place();
  const file = await at.write("in.csv", `n\n${Array.from({ length: 400_000 }, (_, n) => n).join("\n")}\n`);
  const fractions: number[] = [];
  const told: string[] = [];
  using _progress = etlProgressChannel.subscribe(({ fraction }) => fractions.push(fraction));
  using _end = etlRunChannel.subscribe(({ outcome, rowsRead }) => told.push(`${outcome} ${rowsRead}`));
  const rows: number[] = [];
  await etl({
    source: { file, format: "csv", columns: { n: "INTEGER" } },
    transform: sql`select sum(n) as total from input`,
    target: { file: at.file("out.csv"), format: "csv" },
    onProgress: ({ rowsRead, bytesRead, bytesTotal }) => rows.push(rowsRead, bytesTotal - bytesRead),
  });
  assert.equal(await at.text("out.csv"), "total\n79999800000\n");
  assert.ok(fractions.length > 0 && fractions.every((fraction, index) => fraction >= (fractions[index - 1] ?? 0) && fraction <= 1));
  assert.deepEqual(told, ["done 400000"]);
  assert.ok(rows.every((value) => value >= 0));
});

test("options that cannot be are refused before anything is opened", async () => {
  const source = { file: "in.csv", format: "csv" } as const;
  const target = { file: "out.csv", format: "csv" } as const;
  const wrong: readonly [EtlOptions, RegExp][] = [
    [{ source: { ...source, columns: { id: "INTEGER); drop table input" } }, target }, /cannot be declared so/],
    [{ source: { ...source, columns: { _line: "INTEGER" } }, target }, /cannot be declared so/],
    [{ source: { ...source, columns: { id: "INTEGER", ID: "INTEGER" } }, target }, /differs from it in case only/],
    [{ source: { ...source, delimiter: '"' }, target }, /delimiter/],
    [{ source: { format: "ndjson", file: "a" }, target }, /columns/],
    [{ source: { ...source, stream: Readable.from([]) }, target }, /either file or stream/],
    [{ source, target, tables: { input: source } }, /tables/],
    [{ source, target, transform: { module: pathToFileURL("/a.ts"), columns: {} } }, /at least one column/],
    [{ source, target: { file: "/nowhere/at/all.csv", format: "csv" } }, /a directory that exists/],
    [{ source, target, maxReject: 1 } as EtlOptions, /maxRejects/],
  ];
  for (const [options, message] of wrong) await assert.rejects(etl(options), message);
});
