// The fast lane's reader against node's parser: a short, seeded run. `npm run bench -- fuzz` does ten million. See docs/fast-lane.md.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { pathToFileURL } from "node:url";
import { knownHeaders } from "../../../src/http/fast-lane/known-headers.ts";
import { RequestReader } from "../../../src/http/fast-lane/request-reader.ts";
import { Disagreement, type ReaderUnderTest, fuzz } from "./fuzz/compare.ts";

const seed = 20_261_125;
const inputs = 300_000;

test("what the reader takes for a request, node reads as exactly this request, cut anywhere", () => {
  const counts = fuzz({ seed, inputs, createReader: () => new RequestReader(), knownHeaders });
  assert.equal(counts.inputs, inputs);
  // It must have had something to compare, and something to refuse.
  assert.ok(counts.accepted > inputs / 10 && counts.accepted < inputs, `${counts.accepted} accepted`);
  assert.ok(counts.cutEverywhere > 500, `${counts.cutEverywhere} cut`);
});

type Edit = readonly [file: string, before: string, after: string];

/** The reader with these pieces of its source replaced. */
async function planted(edits: readonly Edit[]) {
  const directory = mkdtempSync(join(tmpdir(), "millrace-fuzz-"));
  try {
    for (const name of ["known-headers.ts", "header-section.ts", "request-reader.ts"]) {
      let source = readFileSync(new URL(`../../../src/http/fast-lane/${name}`, import.meta.url), "utf8");
      for (const [file, before, after] of edits) {
        if (file !== name) continue;
        assert.equal(source.split(before).length, 2, `${JSON.stringify(before)} stands once in ${file}`);
        source = source.replace(before, after);
      }
      writeFileSync(join(directory, name), source);
    }
    const load = (name: string): Promise<unknown> => import(pathToFileURL(join(directory, name)).href);
    const { RequestReader: Planted } = (await load("request-reader.ts")) as { RequestReader: new () => ReaderUnderTest };
    const { knownHeaders: known } = (await load("known-headers.ts")) as { knownHeaders: readonly string[] };
    return { createReader: () => new Planted(), knownHeaders: known };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const known = (name: string): Edit => ["known-headers.ts", '  "save-data",', `  "save-data", "${name}",`];
const duplicate = "this.#seenIn[number] === this.#reading) return 0;";
const connection = "if (number === connection &&";

/** Each is one that a parser somewhere has had. */
const bugs: Record<string, readonly Edit[]> = {
  "a header line may end with a bare LF": [
    [
      "header-section.ts",
      "if (limit - at < 2 || bytes[at] !== cr || bytes[at + 1] !== lf) return 0;",
      "if (limit - at < 2 || (bytes[at] !== lf && (bytes[at] !== cr || bytes[at + 1] !== lf))) return 0;\n    if (bytes[at] === lf) at--;",
    ],
  ],
  "the last line may end with a bare CR": [
    ["header-section.ts", "if (limit - at < 2 || bytes[at + 1] !== lf) return 0;", "if (limit - at < 2) return 0;"],
  ],
  "Content-Length is harmless": [known("content-length")],
  "a second Content-Length is harmless when both say 0": [
    known("content-length"),
    [
      "header-section.ts",
      duplicate,
      'this.#seenIn[number] === this.#reading && number !== numberOf("content-length" as never)) return 0;',
    ],
    [
      "header-section.ts",
      connection,
      `if (number === numberOf("content-length" as never) && bytes.toString("latin1", valueStart, at) !== "0") return 0;\n    ${connection}`,
    ],
  ],
  "Transfer-Encoding is harmless": [known("transfer-encoding")],
  "Upgrade is harmless": [known("upgrade"), ["header-section.ts", "if (number === connection &&", "if (number === -2 &&"]],
  "a header may come twice": [["header-section.ts", duplicate, "false) return 0;"]],
  "Connection may say anything": [["header-section.ts", connection, "if (number === -2 &&"]],
  "values may have any byte but CR": [["header-section.ts", "byte < space || byte >= del", "byte === cr"]],
  "white space may stand after a value": [
    ["header-section.ts", "at === valueStart || bytes[at - 1] === space", "at === valueStart"],
  ],
  "white space may stand before the colon": [
    [
      "header-section.ts",
      "if (at >= limit || bytes[at] !== colon) return 0;",
      "if (bytes[at] === space) at++;\n    if (at >= limit || bytes[at] !== colon) return 0;",
    ],
    [
      "header-section.ts",
      "numberOfName(bytes, from, at - from)",
      "numberOfName(bytes, from, at - from - (bytes[at - 1] === space ? 1 : 0))",
    ],
  ],
  "a target may have control characters": [["request-reader.ts", "byte <= space || byte >= del", "byte === space"]],
  "a request may end where there are no more bytes": [
    [
      "header-section.ts",
      "while (at < limit && bytes[at] !== cr) {",
      "while (at < limit && bytes[at] !== cr) {\n      if (at > from && this.#seenIn[host] === this.#reading) return at;",
    ],
  ],
  "a remembered section is compared but for its last bytes": [
    [
      "request-reader.ts",
      "known.bytes.compare(bytes, from, end) === 0",
      "known.bytes.compare(bytes, from, end - 4, 0, end - 4 - from) === 0",
    ],
  ],
};

suite("a planted bug is caught", () => {
  for (const [what, edits] of Object.entries(bugs)) {
    test(what, async () => {
      const under = await planted(edits);
      // Within seconds on any machine: a minute is what it must not need.
      assert.throws(() => fuzz({ seed, inputs: 2_000_000, ...under }), Disagreement);
    });
  }
});
