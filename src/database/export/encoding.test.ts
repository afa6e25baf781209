import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import type { Connection } from "pg";
import { ByteOutput } from "./byte-output.ts";
import { CsvRows } from "./csv-rows.ts";
import { type ExportColumn, fieldKind } from "./export-columns.ts";
import { JsonRows } from "./json-rows.ts";
import { RawRows } from "./raw-rows.ts";
import type { RowEncoder } from "./row-encoder.ts";
import { writeDate, writeTimestamp } from "./write-timestamp.ts";
import { writeInt32, writeInt64 } from "./write-number.ts";

type Field = Buffer | null;

function message(type: string, content: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.write(type, 0, "latin1");
  header.writeUInt32BE(content.length + 4, 1);
  return Buffer.concat([header, content]);
}

function dataRow(fields: readonly Field[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(fields.length);
  const parts = fields.flatMap((field) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(field ? field.length : -1);
    return field ? [length, field] : [length];
  });
  return message("D", Buffer.concat([count, ...parts]));
}

const commandComplete = message("C", Buffer.from("SELECT\0"));
const ready = message("Z", Buffer.from("I"));
const notice = message("N", Buffer.from("SNOTICE\0\0"));

/** A connection whose server says what the test says; `parsed` is what reached pg's parser. */
function fakeConnection() {
  const stream = Object.assign(new EventEmitter(), { write: () => true, pause() {}, resume() {} });
  const parsed: Buffer[] = [];
  stream.on("data", (bytes: Buffer) => parsed.push(Buffer.from(bytes)));
  const nothing = () => {};
  const connection = Object.assign(new EventEmitter(), { stream, parse: nothing, execute: nothing, flush: nothing, sync: nothing });
  return { connection: connection as unknown as Connection, stream, parsed };
}

/** Sends `wire` in pieces cut at `cuts` through RawRows into an encoder, and returns what came out. */
function run(
  columns: readonly ExportColumn[],
  makeEncoder: (output: ByteOutput) => RowEncoder,
  wire: Buffer,
  cuts: readonly number[],
) {
  const blocks: Buffer[] = [];
  const output = new ByteOutput((block) => blocks.push(Buffer.from(block)));
  const encoder = makeEncoder(output);
  encoder.begin();
  const { connection, stream, parsed } = fakeConnection();
  const rows = new RawRows({
    text: "",
    values: [],
    binary: columns.map(({ binary }) => binary),
    maxRowBytes: 1 << 30,
    onRows: (bytes, start, end) => encoder.encode(bytes, start, end),
    onTooLarge: () => assert.fail("no row is too large"),
    onIdle: () => {},
  });
  rows.submit(connection);
  connection.emit("bindComplete");
  let from = 0;
  for (const to of [...[...cuts].sort((a, b) => a - b), wire.length]) {
    if (to > from) stream.emit("data", Buffer.from(Uint8Array.prototype.slice.call(wire, from, to)));
    from = Math.max(from, to);
  }
  encoder.end();
  output.flush();
  return { text: Buffer.concat(blocks).toString(), parsed: Buffer.concat(parsed), rows: encoder.rows };
}

const text = (name: string): ExportColumn => ({ name, kind: fieldKind.text, binary: true });
const anyText = fc.string({ unit: "binary", maxLength: 30 }).map((s) => s.replaceAll("\0", "").toWellFormed());
const awkwardText = fc.string({
  unit: fc.constantFrom('"', "\\", "\n", "\r", "\t", "\b", "\f", "\v", "\u0001", "\u001f", "\u007f", "é", "🌦", "\u2028", ",", "a"),
  maxLength: 20,
});
const anyRow = fc.tuple(fc.option(fc.oneof(anyText, awkwardText)), fc.option(fc.oneof(anyText, awkwardText)));
const cutPoints = fc.array(fc.nat(4_000), { maxLength: 40 });

const wireOf = (rows: readonly (readonly (string | null)[])[]): Buffer =>
  Buffer.concat([
    ...rows.map((row) => dataRow(row.map((value) => (value === null ? null : Buffer.from(value))))),
    commandComplete,
    ready,
  ]);

test("any text comes back from an NDJSON line, however the bytes were cut on their way", () => {
  const columns = [text('a "name"'), text("b")];
  fc.assert(
    fc.property(fc.array(anyRow, { maxLength: 12 }), cutPoints, (rows, cuts) => {
      const { text: out } = run(columns, (output) => new JsonRows(output, columns, false), wireOf(rows), cuts);
      const lines = out.split("\n");
      assert.equal(lines.pop(), "");
      assert.deepEqual(JSON.parse(lines.pop()!), { end: true, rows: rows.length });
      assert.deepEqual(
        lines.map((line) => JSON.parse(line)),
        rows.map(([a, b]) => ({ 'a "name"': a, b })),
      );
    }),
  );
});

test("a JSON export is one array with the same rows, none included", () => {
  const columns = [text("a"), text("b")];
  fc.assert(
    fc.property(fc.array(anyRow, { maxLength: 5 }), cutPoints, (rows, cuts) => {
      const { text: out } = run(columns, (output) => new JsonRows(output, columns, true), wireOf(rows), cuts);
      assert.deepEqual(
        JSON.parse(out),
        rows.map(([a, b]) => ({ a, b })),
      );
    }),
  );
});

test("any text comes back from CSV, and NULL differs from the empty string", () => {
  const columns = [text("a"), text("b,c")];
  fc.assert(
    fc.property(fc.array(anyRow, { maxLength: 12 }), cutPoints, (rows, cuts) => {
      const { text: out } = run(columns, (output) => new CsvRows(output, columns), wireOf(rows), cuts);
      assert.deepEqual(parseCsv(out), [["a", "b,c"], ...rows]);
    }),
  );
});

test("every single cut of a wire gives the same output, and what is not a row reaches pg's parser whole", () => {
  const columns = [text("a"), text("b")];
  const wire = Buffer.concat([
    notice,
    dataRow([Buffer.from('x"\u0001\\'), null]),
    notice,
    dataRow([Buffer.from("é🌦"), Buffer.alloc(0)]),
    commandComplete,
    ready,
  ]);
  const encoder = (output: ByteOutput) => new JsonRows(output, columns, false);
  const expected = `{"a":"x\\"\\u0001\\\\","b":null}\n{"a":"é🌦","b":""}\n{"end":true,"rows":2}\n`;
  for (let cut = 0; cut <= wire.length; cut++) {
    const { text: out, parsed } = run(columns, encoder, wire, [cut]);
    assert.equal(out, expected, `cut at ${cut}`);
    assert.deepEqual(parsed, Buffer.concat([notice, notice, commandComplete, ready]), `cut at ${cut}`);
  }
  const { text: byteByByte } = run(
    columns,
    encoder,
    wire,
    Array.from({ length: wire.length }, (_, i) => i),
  );
  assert.equal(byteByByte, expected);
});

test("rows larger than a block, all of it to be escaped, come out whole", () => {
  const columns = [text("a")];
  for (const size of [1_000, 2_040, 2_048, 10_000, 65_536, 200_000]) {
    const value = "\u0001".repeat(size);
    const { text: out, rows } = run(
      columns,
      (output) => new JsonRows(output, columns, false),
      wireOf([["before"], [value], ["after"]]),
      [700, 70_000],
    );
    assert.equal(rows, 3);
    assert.deepEqual(JSON.parse(out.split("\n")[1]!), { a: value }, `${size} bytes`);
    const csv = run(columns, (output) => new CsvRows(output, columns), wireOf([['"'.repeat(size)]]), []);
    assert.deepEqual(parseCsv(csv.text), [["a"], ['"'.repeat(size)]]);
  }
});

const scratch = Buffer.alloc(64);
const written = (end: number): string => scratch.toString("latin1", 0, end);

test("integers are written as their decimal digits over their whole range", () => {
  const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, 9, 10, 99, 100, -1, 2_147_483_647, -2_147_483_648));
  fc.assert(fc.property(int32, (value) => assert.equal(written(writeInt32(scratch, 0, value)), String(value))));
  const edges = [
    0n,
    -1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    -(2n ** 32n),
    999_999_999n,
    1_000_000_000n,
    2n ** 53n,
    -(2n ** 53n),
    2n ** 63n - 1n,
    -(2n ** 63n),
  ];
  const int64 = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -(2n ** 54n), max: 2n ** 54n }),
    fc.constantFrom(...edges),
  );
  fc.assert(
    fc.property(int64, (value) => {
      const high = Number(BigInt.asIntN(32, value >> 32n));
      const low = Number(BigInt.asIntN(32, value));
      assert.equal(written(writeInt64(scratch, 0, high, low)), String(value));
    }),
    { numRuns: 1_000 },
  );
});

test("timestamps within Date's years are what Date writes, with PostgreSQL's trailing zeros left out", () => {
  const epochMs = Date.UTC(2000, 0, 1);
  const millis = fc.oneof(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }), fc.integer({ min: 0, max: 4e12 }));
  fc.assert(
    fc.property(millis, (ms) => {
      const micros = BigInt(ms - epochMs) * 1_000n;
      const end = writeTimestamp(scratch, 0, Number(BigInt.asIntN(32, micros >> 32n)), Number(BigInt.asIntN(32, micros)), true);
      const iso = new Date(ms).toISOString().replace(/\.000Z$|Z$/, "");
      assert.equal(written(end), `${iso.replace(/(\.\d+?)0+$/, "$1")}+00:00`);
    }),
    { numRuns: 2_000 },
  );
  assert.equal(written(writeDate(scratch, 0, 0)), "2000-01-01");
  assert.equal(written(writeDate(scratch, 0, 2_147_483_647)), "infinity");
  assert.equal(written(writeDate(scratch, 0, -2_147_483_648)), "-infinity");
});

/** RFC 4180, with an unquoted empty field as null. */
function parseCsv(csv: string): (string | null)[][] {
  const records: (string | null)[][] = [];
  let record: (string | null)[] = [];
  let i = 0;
  while (i < csv.length) {
    if (csv[i] === '"') {
      let value = "";
      for (i++; ; i++) {
        if (csv[i] !== '"') value += csv[i];
        else if (csv[++i] === '"') value += '"';
        else break;
      }
      record.push(value);
    } else {
      const start = i;
      while (csv[i] !== "," && !csv.startsWith("\r\n", i)) i++;
      record.push(i === start ? null : csv.slice(start, i));
    }
    if (csv[i] === ",") {
      i++;
      if (csv.startsWith("\r\n", i)) record.push(null);
    }
    if (csv.startsWith("\r\n", i)) {
      records.push(record);
      record = [];
      i += 2;
    }
  }
  return records;
}
