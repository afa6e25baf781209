import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { CsvScanner, splitRow } from "./csv-scanner.ts";
import { RowSink } from "./row-sink.ts";

interface Scanned {
  /** Line and text of each row that is well-formed. */
  readonly rows: string[];
  /** First and last line of each bad row. */
  readonly bad: string[];
  readonly reasons: string[];
}

/** Scans `bytes`, given in pieces of these sizes (then in one), as a file would come. */
function scan(bytes: Buffer, { fields = 2, maxRowBytes = 1_000, pieces = [] as readonly number[] } = {}): Scanned {
  const sink = new RowSink(16);
  const bad: string[] = [];
  const reasons: string[] = [];
  const scanner = new CsvScanner({
    delimiter: ",",
    maxRowBytes,
    sink,
    onBadRow: (line, lastLine, reason) => {
      bad.push(`${line}-${lastLine}`);
      reasons.push(reason);
    },
    onHeader: undefined,
    onBadHeader: (reason) => {
      throw new Error(reason);
    },
    fields,
  });
  let from = 0;
  let to = 0;
  for (const size of pieces) {
    to = Math.min(bytes.length, to + size);
    from += scanner.scan(bytes.subarray(from, to), false);
  }
  from += scanner.scan(bytes.subarray(from), true);
  assert.equal(from, bytes.length);
  const rows = sink.rows === 0 ? [] : rowsIn(sink.bytes.toString("latin1", 0, sink.length));
  assert.equal(rows.length, sink.rows);
  return { rows, bad, reasons };
}

/** The rows in a segment: each begins with a number and a comma, and quotes are balanced. */
const rowsIn = (text: string) => [...text.matchAll(/\d+,(?:"(?:[^"]|"")*"|[^"\n])*\n/gy)].map(([row]) => row.slice(0, -1));

/** What RFC 4180 and the table in csv-scanner.ts say, in two regular expressions over the whole text. */
function oracle(bytes: Buffer, fields: number, maxRowBytes: number): Omit<Scanned, "reasons"> {
  const text = bytes.toString("latin1");
  const field = String.raw`(?:"(?:[^"\0]|"")*"|[^",\n\r\0]*)`;
  const row = new RegExp(String.raw`(${field}(?:,${field})*)(?:\r?\n|\r?$)`, "y");
  const line = /([^\n]*)(?:\n|$)/y;
  const rows: string[] = [];
  const bad: string[] = [];
  let number = 1;
  for (let at = 0; at < text.length;) {
    row.lastIndex = line.lastIndex = at;
    const matched = row.exec(text);
    const first = line.exec(text)!;
    const fits = matched && text.slice(at, row.lastIndex).replace(/\n$/, "").length <= maxRowBytes;
    const [whole, content] = fits && first[1]!.length <= maxRowBytes ? [matched[0], matched[1]!] : [first[0], undefined];
    const breaks = whole.split("\n").length - 1;
    const lines = Math.max(1, breaks + (whole.endsWith("\n") ? 0 : 1));
    if (content === undefined) bad.push(`${number}-${number}`);
    else if (content !== "" && (count(content) !== fields || !isUtf8(whole))) bad.push(`${number}-${number + lines - 1}`);
    else if (content !== "") rows.push(`${number},${content}`);
    number += lines;
    at += whole.length;
  }
  return { rows, bad };
}

const count = (content: string) => splitRow(content, ",").length;
const isUtf8 = (text: string) => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "latin1"));
    return true;
  } catch {
    return false;
  }
};

suite("the CSV scanner", () => {
  test("agrees with the grammar of RFC 4180, however the bytes arrive", () => {
    const part = fc.constantFrom(",", ",", '"', '"', "\n", "\n", "\r\n", "\r", "a", "7", "é", "\xff", "\0", 'a,"b\nc"\n', "a,b\n");
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 20 }),
        fc.constantFrom(4, 9, 1_000),
        (parts, pieces, maxRowBytes) => {
          const bytes = Buffer.concat(parts.map((text) => Buffer.from(text, text === "\xff" ? "latin1" : "utf8")));
          const { reasons, ...found } = scan(bytes, { pieces, maxRowBytes });
          assert.equal(reasons.length, found.bad.length);
          assert.deepEqual(found, oracle(bytes, 2, maxRowBytes));
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test("a stray quote costs its line, not all up to the next quote", () => {
    const { rows, bad, reasons } = scan(Buffer.from('1,a\n2,"b\n3,c\n4,"d"\n'));
    assert.deepEqual(rows, ["1,1,a", "3,3,c", '4,4,"d"']);
    assert.deepEqual([bad, reasons], [["2-2"], ["something follows a closing quote"]]);
  });

  test("a quote that is never closed is found after maxRowBytes", () => {
    const long = `1,"${"a\n".repeat(40)}\n2,b\n`;
    const { rows, bad, reasons } = scan(Buffer.from(long), { maxRowBytes: 32, pieces: [50, 20] });
    assert.deepEqual(rows, ["42,2,b"]);
    assert.equal(bad.length, 40);
    assert.match(reasons[0]!, /not closed within 32 bytes/);
  });

  test("a line that is too long is skipped without being held", () => {
    const { rows, bad } = scan(Buffer.from(`${"x".repeat(500)}\n1,a\n`), { maxRowBytes: 20, pieces: Array<number>(40).fill(10) });
    assert.deepEqual([rows, bad], [["2,1,a"], ["1-1"]]);
  });
});
