import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Deadline, type WorkContext, runInContext } from "../../src/concurrency/index.ts";
import { type Database, type Queryable, createDatabase, databaseErrors, defineLoader, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

interface City {
  readonly id: number;
  readonly name: string;
}

const context = (principalId?: string): WorkContext => ({ requestId: "test", deadline: new Deadline(), principalId });

/** A loader and the batches of keys that it was called with. */
function watchedLoader(options?: Parameters<typeof defineLoader>[2]) {
  const batches: number[][] = [];
  const loader = defineLoader(
    "cities by id",
    async (keys: number[], queryable: Queryable) => {
      batches.push(keys);
      const cities = await queryable.many(sql<City>`select id, name from city where id = any(${keys})`);
      return new Map(cities.map((city) => [city.id, city]));
    },
    options,
  );
  return { loader, batches };
}

describe("a loader", () => {
  let database: TestDatabase;
  let db: Database;

  before(async () => {
    database = await testDatabase();
    db = await createDatabase({ url: database.url });
    await db.query(sql`create table city (id int primary key, name text not null)`);
    await db.query(sql`insert into city select i, 'city ' || i from generate_series(1, 9) i`);
  });
  after(async () => {
    await db.close();
    await database[Symbol.asyncDispose]();
  });

  it("asks once for everything that one turn wants, each key once", async () => {
    // #region loader
    const cities = defineLoader("cities by id", async (ids: number[], handle) => {
      const rows = await handle.many(sql<City>`select id, name from city where id = any(${ids})`);
      return new Map(rows.map((city) => [city.id, city]));
    });

    const [one, two] = await Promise.all([cities.load(db, 1), cities.load(db, 2)]); // one statement
    // #endregion
    assert.deepEqual([one?.name, two?.name], ["city 1", "city 2"]);

    const { loader, batches } = watchedLoader();
    await runInContext(context(), async () => {
      const names = async (id: number) => (await loader.load(db, id))?.name;
      assert.deepEqual(await Promise.all([names(3), names(1), names(3), loader.loadAll(db, [1, 2]).then((all) => all[1]?.name)]), [
        "city 3",
        "city 1",
        "city 3",
        "city 2",
      ]);
    });
    assert.deepEqual(batches, [[3, 1, 2]]);
  });

  it("gives undefined for what does not exist", async () => {
    const { loader } = watchedLoader();
    assert.deepEqual(
      (await loader.loadAll(db, [404, 1])).map((city) => city?.id),
      [undefined, 1],
    );
  });

  it("remembers within a request and forgets when told", async () => {
    const { loader, batches } = watchedLoader();
    await runInContext(context(), async () => {
      await loader.load(db, 1);
      await loader.load(db, 1);
      assert.deepEqual(batches, [[1]]);
      loader.forget(db, 1);
      await loader.load(db, 1);
      assert.deepEqual(batches, [[1], [1]]);
    });
  });

  it("shares nothing between requests, not even a batch", async () => {
    const { loader, batches } = watchedLoader();
    await Promise.all([context(), context()].map((each) => runInContext(each, () => loader.load(db, 1))));
    assert.deepEqual(batches, [[1], [1]]);
  });

  it("shares nothing between principals of one request", async () => {
    const { loader, batches } = watchedLoader();
    const request = context();
    await runInContext(request, async () => {
      await loader.load(db, 1);
      request.principalId = "ada";
      await loader.load(db, 1);
      request.principalId = "bob";
      const bobs = loader.load(db, 2);
      request.principalId = "ada";
      await Promise.all([bobs, loader.load(db, 2)]);
    });
    assert.deepEqual(batches, [[1], [1], [2], [2]]);
  });

  it("shares nothing between a transaction, its savepoints and the database", async () => {
    const { loader } = watchedLoader();
    await runInContext(context(), async () => {
      assert.equal((await loader.load(db, 5))!.name, "city 5");
      await assert.rejects(
        db.transaction(async (tx) => {
          await tx.query(sql`update city set name = 'renamed' where id = 5`);
          assert.equal((await loader.load(tx, 5))!.name, "renamed");
          await assert.rejects(
            tx.transaction(async (nested) => {
              await nested.query(sql`update city set name = 'renamed again' where id = 5`);
              assert.equal((await loader.load(nested, 5))!.name, "renamed again");
              throw new Error("savepoint rolled back on purpose");
            }),
            /on purpose/,
          );
          assert.equal((await loader.load(tx, 5))!.name, "renamed");
          throw new Error("rolled back on purpose");
        }),
        /on purpose/,
      );
      assert.equal((await loader.load(db, 5))!.name, "city 5");
    });
  });

  it("remembers nothing outside of any request", async () => {
    const { loader, batches } = watchedLoader();
    await Promise.all([loader.load(db, 1), loader.load(db, 1)]);
    await loader.load(db, 1);
    assert.deepEqual(batches, [[1], [1]]);
  });

  it("splits what is more than a batch", async () => {
    const { loader, batches } = watchedLoader({ maxBatch: 2 });
    assert.equal((await loader.loadAll(db, [1, 2, 3, 4, 5])).length, 5);
    assert.deepEqual(batches, [[1, 2], [3, 4], [5]]);
  });

  it("remembers no more than it may, the newest", async () => {
    const { loader, batches } = watchedLoader({ maxRemembered: 2 });
    await runInContext(context(), async () => {
      for (const id of [1, 2, 3, 3, 2, 1]) await loader.load(db, id);
    });
    assert.deepEqual(batches, [[1], [2], [3], [1]]);
  });

  it("passes a failure to everyone who waits and asks again next time", async () => {
    let attempts = 0;
    const flaky = defineLoader("flaky", async (keys: number[]) => {
      if (attempts++ === 0) throw new Error("down");
      return new Map(keys.map((key) => [key, key]));
    });
    await runInContext(context(), async () => {
      const settled = await Promise.allSettled([flaky.load(db, 1), flaky.load(db, 2)]);
      assert.deepEqual(
        settled.map(({ status }) => status),
        ["rejected", "rejected"],
      );
      assert.equal(await flaky.load(db, 1), 1);
    });
  });

  it("refuses keys that were not asked for, such as a bigint column's text for a number", async () => {
    const confused = defineLoader("confused", async (keys: (number | string)[]) => new Map(keys.map((key) => [String(key), true])));
    await assert.rejects(
      confused.load(db, 1),
      (error) => databaseErrors.is(error, "MILLRACE_LOADER_KEY_UNKNOWN") && error.message.includes('string key "1"'),
    );
  });

  it("checks its options when it is defined", () => {
    assert.throws(() => watchedLoader({ maxBatch: 0 }), { code: "MILLRACE_OPTION_INVALID" });
  });
});
