import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { MillraceError } from "../../src/core/index.ts";
import {
  type Database,
  type MigrateOptions,
  createDatabase,
  databaseErrors,
  migrate,
  migrationChannel,
  sql,
} from "../../src/database/index.ts";
import { testDatabase } from "../harness/postgres.ts";

/** A database and a folder of migrations, both thrown away. */
async function project(files: Readonly<Record<string, string>> = {}) {
  const database = await testDatabase();
  const db = await createDatabase({ url: database.url });
  const directory = await mkdtemp(join(tmpdir(), "millrace-migrations-"));
  const lines: string[] = [];
  const write = async (more: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(more)) await writeFile(join(directory, name), text);
  };
  await write(files);
  return {
    url: database.url,
    db,
    directory,
    lines,
    write,
    rename: (from: string, to: string) => rename(join(directory, from), join(directory, to)),
    remove: (name: string) => rm(join(directory, name)),
    migrate: (options: Partial<MigrateOptions> = {}) =>
      migrate(db, { directory, log: (line) => void lines.push(line), ...options }),
    async [Symbol.asyncDispose]() {
      await db.close();
      await database[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

const refuses = async (work: Promise<unknown>, code: keyof typeof databaseErrors.table, message?: RegExp): Promise<void> => {
  await assert.rejects(work, (error) => {
    assert.ok(databaseErrors.is(error, code), String(error));
    if (message) assert.match((error as MillraceError).message, message);
    return true;
  });
};

const exists = async (db: Database, name: string) =>
  (await db.one<{ found: boolean }>(sql`select to_regclass(${name}) is not null as found`)).found;
const names = async (db: Database) =>
  (await db.many<{ name: string }>(sql`select name from millrace.migrations order by id`)).map(({ name }) => name);

const cities = { "0001_create_cities.sql": "create table city (id int primary key);\ninsert into city values (1);\n" };
const users = { "0002_create_users.sql": "create table person (id int primary key);\n" };

describe("migrations", () => {
  it("are applied in order, once, and written down", async () => {
    await using p = await project({ ...users, ...cities, "README.md": "not a migration" });
    const { db, directory } = p;
    const logger = { info: (line: string) => void p.lines.push(line) };
    // #region migrate
    const { applied } = await migrate(db, { directory, log: (line) => logger.info(line) });
    // #endregion
    assert.deepEqual(
      applied.map(({ id, name }) => [id, name]),
      [
        [1, "0001_create_cities.sql"],
        [2, "0002_create_users.sql"],
      ],
    );
    assert.deepEqual(await p.migrate(), { applied: [], notTried: [], total: 2 });
    assert.match(
      p.lines.join("\n"),
      /^0001_create_cities\.sql applied in .*\n0002_.*\nThe database is up to date: 2 migrations\.$/,
    );
    const row = await db.one<{ checksum: string; version: string; duration_ms: number }>(
      sql`select * from millrace.migrations where id = 1`,
    );
    assert.match(row.checksum, /^[0-9a-f]{64}$/);
    assert.match(row.version, /^\d+\.\d+\.\d+/);
    assert.ok(row.duration_ms >= 0);
  });

  it("that come later are applied on top", async () => {
    await using p = await project(cities);
    await p.migrate();
    await p.write(users);
    const published = migrationChannel.next();
    const report = await p.migrate();
    assert.deepEqual([report.applied.map(({ id }) => id), report.total], [[2], 2]);
    assert.equal((await published).name, "0002_create_users.sql");
  });

  it("are applied once when several processes start at the same time", async () => {
    await using p = await project({ ...cities, ...users });
    const databases = await Promise.all(Array.from({ length: 5 }, () => createDatabase({ url: p.url })));
    try {
      const reports = await Promise.all(databases.map((db) => migrate(db, { directory: p.directory })));
      assert.deepEqual(
        reports.map(({ applied }) => applied.length).toSorted((a, b) => a - b),
        [0, 0, 0, 0, 2],
      );
      assert.deepEqual(
        reports.map(({ total }) => total),
        [2, 2, 2, 2, 2],
      );
    } finally {
      await Promise.all(databases.map((db) => db.close()));
    }
  });

  it("say that another process is migrating when the wait is too long", async () => {
    await using p = await project(cities);
    const holder = await p.db.pool.connect();
    try {
      await holder.query("select pg_advisory_lock(1835625580, 2)");
      await refuses(p.migrate({ lockTimeout: "0s" }), "MILLRACE_MIGRATION_BUSY", /more than 0ms/);
    } finally {
      holder.release();
    }
    assert.equal(await exists(p.db, "city"), false);
  });

  it("leave nothing of one that fails, keep those before it, and name its file and line", async () => {
    await using p = await project({
      ...cities,
      "0002_broken.sql": "create table half (id int);\n-- ein Kommentar: 日本 🎏\ninsert into half\n  select nothing;\n",
      "0003_later.sql": "create table later (id int);",
    });
    await refuses(
      p.migrate(),
      "MILLRACE_MIGRATION_FAILED",
      /0002_broken\.sql:4 failed: column "nothing" does not exist.*rolled back/,
    );
    assert.deepEqual([await exists(p.db, "city"), await exists(p.db, "half"), await exists(p.db, "later")], [true, false, false]);
    assert.deepEqual(await names(p.db), ["0001_create_cities.sql"]);
    await p.write({ "0002_broken.sql": "create table half (id int);" });
    assert.equal((await p.migrate()).total, 3);
  });

  it("tell what PostgreSQL tells about a violated constraint, deferred ones included", async () => {
    await using p = await project({
      "0001_deferred.sql": `
        create table parent (id int primary key);
        create table child (parent int references parent deferrable initially deferred);
        insert into child values (7);`,
    });
    await refuses(p.migrate(), "MILLRACE_MIGRATION_FAILED", /0001_deferred\.sql failed: .*foreign key.*Key \(parent\)=\(7\)/);
    assert.equal(await exists(p.db, "child"), false);
  });

  it("are refused when an applied file was changed, renamed or removed", async () => {
    await using p = await project({ ...cities, ...users });
    await p.migrate();
    await p.write({ "0001_create_cities.sql": `${cities["0001_create_cities.sql"]}-- changed` });
    await refuses(p.migrate(), "MILLRACE_MIGRATION_CHANGED", /0001_create_cities\.sql was changed/);
    await p.write(cities);
    await p.rename("0002_create_users.sql", "0002_create_people.sql");
    await refuses(p.migrate(), "MILLRACE_MIGRATION_RENAMED", /0002_create_users\.sql was applied.*0002_create_people\.sql/);
    await p.remove("0002_create_people.sql");
    await refuses(p.migrate(), "MILLRACE_MIGRATION_MISSING", /0002_create_users\.sql/);
    await p.write(users);
    assert.equal((await p.migrate()).total, 2);
  });

  it("are the same with the line ends of another system", async () => {
    await using p = await project(cities);
    await p.migrate();
    await p.write({ "0001_create_cities.sql": `\uFEFF${cities["0001_create_cities.sql"].replaceAll("\n", "\r\n")}` });
    assert.equal((await p.migrate()).total, 1);
  });

  it("are refused when a new one stands before an applied one", async () => {
    await using p = await project({ ...cities, ...users });
    await p.migrate();
    await p.db.query(sql`delete from millrace.migrations where id = 1`);
    await refuses(p.migrate(), "MILLRACE_MIGRATION_OUT_OF_ORDER", /0001_create_cities\.sql is new, but 0002_create_users\.sql/);
  });

  it("may not end their own transaction by END, which only shows when it has run", async () => {
    await using p = await project({ "0001_sneaky.sql": "create table sneaky (id int);\nend;" });
    await refuses(p.migrate(), "MILLRACE_MIGRATION_TRANSACTION_CONTROL", /0001_sneaky\.sql contains "end"/);
    assert.deepEqual(await names(p.db), []);
  });

  it("may use such words where they are not commands", async () => {
    await using p = await project({
      "0001_words.sql": `
        /* ; commit; */
        create table words (commit text default '; commit;', "; rollback;" text);
        do $body$ begin perform 1; end; $body$;
        create function atomic() returns int begin atomic select 1; select 2; end;
        savepoint here; insert into words values (E'\\'; commit; '); rollback to savepoint here; rollback to here;`,
    });
    assert.equal((await p.migrate()).total, 1);
    assert.equal((await p.db.one<{ count: string }>(sql`select count(*) from words`)).count, "0");
  });

  it("change nothing in a dry run, and say what they would do", async () => {
    await using p = await project({
      ...cities,
      ...users,
      "0003_index.sql": "-- millrace: no transaction\ncreate index concurrently on person (id);",
    });
    const report = await p.migrate({ dryRun: true });
    assert.deepEqual([report.applied.map(({ id }) => id), report.notTried, report.total], [[1, 2], ["0003_index.sql"], 0]);
    assert.match(
      p.lines.join("\n"),
      /0001_create_cities\.sql would be applied.*\n0002.*\n0003_index\.sql would be applied, but cannot be tried.*\nDry run: everything was rolled back\./,
    );
    assert.deepEqual([await exists(p.db, "city"), await exists(p.db, "millrace.migrations")], [false, false]);
    await p.write({ "0002_create_users.sql": "create table city (id int);" });
    await refuses(
      p.migrate({ dryRun: true }),
      "MILLRACE_MIGRATION_FAILED",
      /0002_create_users\.sql failed: relation "city" already exists/,
    );
  });

  it("can do without a transaction for what PostgreSQL refuses in one, one statement at a time", async () => {
    await using p = await project({
      ...cities,
      "0002_index.sql": "-- Why: reads by name.\n-- millrace: no transaction\ncreate index concurrently city_id on city (id);",
    });
    assert.equal((await p.migrate()).total, 2);
    assert.ok(await exists(p.db, "city_id"));
    await p.write({ "0003_two.sql": "-- millrace: no transaction\ncreate table one (id int); create table two (id int);" });
    await refuses(p.migrate(), "MILLRACE_MIGRATION_FAILED", /multiple commands.*without a transaction/);
    await p.write({ "0003_two.sql": "create table one (id int);\n-- millrace: no transaction\n" });
    assert.equal((await p.migrate()).total, 3);
  });

  it("build an index concurrently while another process waits for its turn", async () => {
    await using p = await project({
      ...cities,
      "0002_index.sql": "-- millrace: no transaction\ncreate index concurrently city_id on city (id);",
    });
    await using other = await createDatabase({ url: p.url });
    const [first, second] = await Promise.all([p.migrate(), migrate(other, { directory: p.directory })]);
    assert.equal(first.applied.length + second.applied.length, 2);
  });

  it("do not inherit settings from the one before, nor leave any on the pool's connections", async () => {
    await using p = await project({
      "0001_settings.sql": "set search_path = pg_catalog; set statement_timeout = 1; set role pg_monitor;",
      "0002_table.sql": "create table plain (id int); select pg_sleep(0.02);",
    });
    assert.equal((await p.migrate()).total, 2);
    assert.ok(await exists(p.db, "public.plain"));
    assert.deepEqual(
      await p.db.one(sql`select current_setting('statement_timeout') as timeout, current_user = session_user as self`),
      { timeout: "0", self: true },
    );
  });

  it("give up on a table that is in use instead of holding up everybody who wants it", async () => {
    await using p = await project(cities);
    await p.migrate();
    await p.write({ "0002_alter.sql": "alter table city add column name text;" });
    const user = await p.db.pool.connect();
    try {
      await user.query("begin; select * from city");
      await refuses(p.migrate({ tableLockTimeout: "50ms" }), "MILLRACE_MIGRATION_FAILED", /0002_alter\.sql.*lock timeout/);
    } finally {
      await user.query("rollback");
      user.release();
    }
    assert.equal((await p.migrate()).total, 2);
  });
});
