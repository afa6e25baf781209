// Holds docs/errors.md to the error catalogs, and the catalogs to the code that raises their errors.

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { tokensOf } from "./architecture/tokens.ts";
import { type ErrorRow, catalogFiles, codesWithStatus, errorRows, renderRows, withRows } from "./errors/error-page.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The codes that the source names, with the files that do: as strings, and unless `onlyStrings` as keys too. */
function codesInSource({ onlyStrings = false } = {}): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const path of globSync("src/**/*.ts", { cwd: root }).filter((file) => !file.endsWith(".test.ts"))) {
    for (const { kind, text } of tokensOf(readFileSync(join(root, path), "utf8"))) {
      if (!/^MILLRACE_[A-Z0-9_]+$/.test(text) || (onlyStrings && kind !== "string")) continue;
      found.set(text, (found.get(text) ?? new Set()).add(path.split(sep).join("/")));
    }
  }
  return found;
}

suite("the error table", () => {
  test("on the page is the one in the code; npm run errors brings it up to date", async () => {
    const page = readFileSync(join(root, "docs/errors.md"), "utf8");
    assert.equal(page, withRows(page, await errorRows()));
  });

  test("has each code once, spelled alike, with sentences that say when and what next", async () => {
    const rows = await errorRows();
    assert.ok(rows.length > 20, `${rows.length} rows`);
    const codes = rows.map(({ code }) => code);
    assert.deepEqual(
      codes.filter((code, i) => codes.indexOf(code) !== i),
      [],
    );
    for (const { code, when, next } of rows) {
      assert.match(code, /^MILLRACE(?:_[A-Z0-9]+)+$/);
      for (const sentence of [when, next]) assert.match(sentence, /^\S.*[.)…]$/s, `${code}: "${sentence}" is a sentence`);
    }
  });

  test("has every code that the source names", async () => {
    const codes = new Set((await errorRows()).map(({ code }) => code));
    const unknown = [...codesInSource()]
      .filter(([code]) => !codes.has(code))
      .map(([code, files]) => `${code} in ${[...files].join(", ")}`);
    assert.deepEqual(unknown, []);
  });

  test("has no code that nothing raises", async () => {
    // Raised by create("CODE", …), or chosen by a table whose values are codes.
    const catalogs = new Set(catalogFiles());
    const raised = codesInSource({ onlyStrings: true });
    const unused = (await errorRows()).filter(({ code }) => [...(raised.get(code) ?? [])].every((file) => catalogs.has(file)));
    assert.deepEqual(
      unused.map(({ code }) => code),
      [],
    );
  });

  test("has every code to which http gives a status", async () => {
    const codes = new Set((await errorRows()).map(({ code }) => code));
    assert.deepEqual(
      codesWithStatus().filter((code) => !codes.has(code)),
      [],
    );
  });
});

suite("the page's table", () => {
  const row: ErrorRow = {
    code: "MILLRACE_A_B",
    capability: "core",
    status: 500,
    retryable: true,
    when: "A | b.",
    next: "Use <c>.",
  };

  test("shows a row as it is, whatever characters it has", () => {
    assert.ok(renderRows([row]).includes("| `MILLRACE_A_B` | 500 | yes | A \\| b. | Use &lt;c>. |"));
  });

  test("changes with the code, and nothing around it does", () => {
    const page = "before\n<!-- errors: begin -->\nold\n<!-- errors: end -->\nafter\n";
    const filled = withRows(page, [row]);
    assert.ok(filled.startsWith("before\n<!-- errors: begin -->\n") && filled.endsWith("<!-- errors: end -->\nafter\n"));
    assert.equal(withRows(filled, [row]), filled);
    assert.notEqual(withRows(filled, [{ ...row, status: 503 }]), filled);
    assert.throws(() => withRows("no marks", [row]), /needs/);
  });
});
