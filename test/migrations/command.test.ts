import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { createDatabase, sql } from "../../src/database/index.ts";
import { testDatabase } from "../harness/postgres.ts";

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url));

async function millrace(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [bin, ...args], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { out, err, code };
}

describe("millrace db migrate", () => {
  it("tries, applies, and then has nothing to do", async () => {
    await using database = await testDatabase();
    const folder = await mkdtemp(join(tmpdir(), "millrace-migrations-"));
    try {
      await writeFile(join(folder, "0001_create_cities.sql"), "create table city (id int);");
      const dry = await millrace(["db", "migrate", "--dir", folder, "--dry-run", "--database-url", database.url]);
      assert.deepEqual([dry.code, dry.err], [0, ""]);
      assert.match(dry.out, /^0001_create_cities\.sql would be applied \(.*\)\.\nDry run: everything was rolled back\.\n$/);

      const real = await millrace(["db", "migrate", "--dir", folder], { DATABASE_URL: database.url });
      assert.match(real.out, /^0001_create_cities\.sql applied in .*\.\n$/);
      const again = await millrace(["db", "migrate", "--dir", folder, "--database-url", database.url]);
      assert.deepEqual([again.code, again.out], [0, "The database is up to date: 1 migration.\n"]);
      await using db = await createDatabase({ url: database.url });
      assert.deepEqual(await db.many(sql`select name from millrace.migrations`), [{ name: "0001_create_cities.sql" }]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("fails with one sentence that names the file, the line and what to do", async () => {
    await using database = await testDatabase();
    const folder = await mkdtemp(join(tmpdir(), "millrace-migrations-"));
    try {
      await writeFile(join(folder, "0001_broken.sql"), "select 1;\nselekt 2;");
      const { code, out, err } = await millrace(["db", "migrate", "--dir", folder, "--database-url", database.url]);
      assert.deepEqual([code, out], [1, ""]);
      assert.match(
        err,
        /^0001_broken\.sql:2 failed: syntax error at or near "selekt".*migrate again\.\n\(MILLRACE_MIGRATION_FAILED\)\n$/,
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("says which option is missing", async () => {
    const { code, err } = await millrace(["db", "migrate"]);
    assert.equal(code, 1);
    assert.match(err, /required option '--dir <folder>'/);
  });
});
