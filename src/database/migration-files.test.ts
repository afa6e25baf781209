import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { databaseErrors } from "./errors.ts";
import { lineAtPosition, readMigrations } from "./migration-files.ts";

/** Reads a folder with these files. */
async function read(files: Readonly<Record<string, string | Buffer>>) {
  const directory = await mkdtemp(join(tmpdir(), "millrace-migrations-"));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    return await readMigrations(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

const refuses = (files: Readonly<Record<string, string | Buffer>>, code: keyof typeof databaseErrors.table, message: RegExp) =>
  assert.rejects(read(files), (error) => databaseErrors.is(error, code) && message.test(error.message));

describe("a folder of migrations", () => {
  it("is read in the order of the numbers, whatever else lies in it", async () => {
    const files = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [`${String(i + 1).padStart(4, "0")}_step.sql`, `select ${i + 1};`]),
    );
    const read_ = await read({ "README.md": "hello", ...files });
    assert.deepEqual(
      read_.map(({ id }) => id),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    );
    assert.equal(read_[11]!.text, "select 12;");
  });

  it("may be empty", async () => {
    assert.deepEqual(await read({}), []);
  });

  it("is refused for gaps, repeated numbers, other names and text that is not UTF-8", async () => {
    const code = "MILLRACE_MIGRATION_FILES_INVALID";
    await refuses({ "0002_b.sql": "" }, code, /number 1 is missing before 0002_b\.sql/);
    await refuses({ "0001_a.sql": "", "0003_c.sql": "" }, code, /number 2 is missing before 0003_c\.sql/);
    await refuses({ "0001_a.sql": "", "0001_b.sql": "" }, code, /0001_a\.sql and 0001_b\.sql have the same number/);
    for (const name of ["1_short.sql", "0001_Create-Cities.sql", "create.sql", "0001.sql", "0001_a.up.sql"]) {
      await refuses({ [name]: "" }, code, /is not named like 0001_create_cities\.sql/);
    }
    await refuses({ "0001_latin.sql": Buffer.from([0x2d, 0x2d, 0xe4]) }, code, /0001_latin\.sql cannot be read as UTF-8/);
  });

  it("is refused when it does not exist", async () => {
    await assert.rejects(readMigrations(join(tmpdir(), "millrace-no-such-folder")), (error) =>
      databaseErrors.is(error, "MILLRACE_MIGRATION_FILES_INVALID"),
    );
  });

  it("is refused when a file contains a command that would end its transaction", async () => {
    for (const command of [
      "commit",
      "BEGIN",
      "rollback",
      "start  transaction",
      "abort",
      "end work",
      "rollback and chain",
      "prepare transaction 'x'",
    ]) {
      const text = `-- commit; is fine here\nselect 1; -- and here: rollback;\n\n  ${command};\n`;
      await refuses({ "0001_sneaky.sql": text }, "MILLRACE_MIGRATION_TRANSACTION_CONTROL", /^0001_sneaky\.sql:4 contains "\w+/);
    }
  });

  it("knows a file that runs without a transaction by the comment at its top, and only there", async () => {
    const [plain, top, below] = await read({
      "0001_a.sql": "create table a (id int);\n-- millrace: no transaction",
      "0002_b.sql": "\n-- Readers must not wait.\n--millrace:no transaction  \ncreate index concurrently on a (id);",
      "0003_c.sql": "select '\n-- millrace: no transaction\n';",
    });
    assert.deepEqual([plain!.transaction, top!.transaction, below!.transaction], [true, false, true]);
  });

  it("is the same with other line ends and a byte order mark, and another with any other change", async () => {
    const [unix] = await read({ "0001_a.sql": "select 1;\nselect 2;\n" });
    const [windows] = await read({ "0001_a.sql": "\uFEFFselect 1;\r\nselect 2;\r\n" });
    const [changed] = await read({ "0001_a.sql": "select 1;\nselect 2; \n" });
    assert.equal(windows!.checksum, unix!.checksum);
    assert.notEqual(changed!.checksum, unix!.checksum);
  });

  it("tells the line of a position in characters, of which some are two UTF-16 units", () => {
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((position) => lineAtPosition("🎏\n🎏\nx", position)),
      [1, 1, 2, 2, 3],
    );
  });
});
