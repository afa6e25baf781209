// Transactions against a real PostgreSQL: atomicity, nesting, repetition, and what cannot go wrong with the outer handle.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { type Transaction, createDatabase, databaseErrors, sql, transactionChannel } from "millrace/database";
import { Deadline, runInContext } from "millrace/concurrency";
import { testDatabase } from "../harness/postgres.ts";

async function accounts() {
  const scratch = await testDatabase();
  const db = await createDatabase({ url: scratch.url, applicationName: "transactions under test" });
  await db.query(sql`create table accounts (id int primary key, balance int not null check (balance >= 0))`);
  await db.query(sql`insert into accounts values (1, 100), (2, 100)`);
  return {
    db,
    url: scratch.url,
    balances: async () =>
      (await db.many(sql<{ balance: number }>`select balance from accounts order by id`)).map((row) => row.balance),
    async [Symbol.asyncDispose]() {
      await db.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

const move = async (tx: Transaction, amount: number) => {
  await tx.query(sql`update accounts set balance = balance - ${amount} where id = 1`);
  await tx.query(sql`update accounts set balance = balance + ${amount} where id = 2`);
};

test("commits what its callback did, returns its result", async () => {
  await using at = await accounts();
  // #region transaction
  const left = await at.db.transaction(async (tx) => {
    await tx.query(sql`update accounts set balance = balance - ${30} where id = 1`);
    await tx.query(sql`update accounts set balance = balance + ${30} where id = 2`);
    return await tx.one(sql<{ balance: number }>`select balance from accounts where id = 1`);
  });
  // #endregion
  assert.deepEqual(left, { balance: 70 });
  assert.deepEqual(await at.balances(), [70, 130]);
});

test("rolls back when its callback throws, and throws the same error", async () => {
  await using at = await accounts();
  const failure = new Error("changed my mind");
  await assert.rejects(
    at.db.transaction(async (tx) => {
      await move(tx, 30);
      throw failure;
    }),
    (error) => error === failure,
  );
  assert.deepEqual(await at.balances(), [100, 100]);
});

test("a nested transaction is a savepoint: its failure takes only its own work back", async () => {
  await using at = await accounts();
  // #region savepoint
  await at.db.transaction(async (tx) => {
    await tx.query(sql`update accounts set balance = balance + 1 where id = 1`);
    try {
      await tx.transaction(async (inner) => {
        await inner.query(sql`update accounts set balance = balance - 1000 where id = 2`); // the check constraint refuses it
      });
    } catch {
      await tx.query(sql`update accounts set balance = balance + 1 where id = 2`); // the outer transaction goes on
    }
  });
  // #endregion
  assert.deepEqual(await at.balances(), [101, 101]);
});

test("nests three deep", async () => {
  await using at = await accounts();
  await at.db.transaction(async (one) => {
    await one.transaction(async (two) => {
      await two.transaction((three) => move(three, 10));
      await assert.rejects(
        two.transaction(async (three) => {
          await move(three, 20);
          throw new Error("no");
        }),
        /no/,
      );
    });
  });
  assert.deepEqual(await at.balances(), [90, 110]);
});

test("a swallowed failure does not look like a commit", async () => {
  await using at = await accounts();
  await assert.rejects(
    at.db.transaction(async (tx) => {
      await tx.query(sql`update accounts set balance = balance + 1 where id = 1`);
      await tx.query(sql`select 1 / 0`).catch(() => undefined);
    }),
    (error) => databaseErrors.is(error, "MILLRACE_DATABASE_TRANSACTION_ABORTED"),
  );
  assert.deepEqual(await at.balances(), [100, 100]);
});

test("the outer handle is refused inside, in helpers too, rather than missing the transaction or waiting for its locks", async () => {
  await using at = await accounts();
  const helper = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return await at.db.many(sql`select * from accounts for update`);
  };
  await assert.rejects(
    at.db.transaction(async (tx) => {
      await move(tx, 1);
      await helper();
    }),
    { code: "MILLRACE_DATABASE_TRANSACTION_OPEN" },
  );
  await assert.rejects(
    at.db.transaction(() => at.db.transaction(async () => undefined)),
    { code: "MILLRACE_DATABASE_TRANSACTION_OPEN" },
  );
  await at.db.transaction(async (tx) => {
    await move(tx, 1);
    const seen = await at.db.outsideTransaction(() => at.balances());
    assert.deepEqual(seen, [100, 100], "outside sees what is committed");
  });
  assert.deepEqual(await at.balances(), [99, 101]);
});

test("the outer transaction's handle is refused while a nested one is open", async () => {
  await using at = await accounts();
  await assert.rejects(
    at.db.transaction((tx) => tx.transaction(async () => void (await tx.query(sql`select 1`)))),
    { code: "MILLRACE_DATABASE_TRANSACTION_OPEN" },
  );
});

test("a handle kept beyond its transaction is refused", async () => {
  await using at = await accounts();
  let kept: Transaction | undefined;
  await at.db.transaction(async (tx) => void (kept = tx));
  await assert.rejects(kept!.query(sql`select 1`), { code: "MILLRACE_DATABASE_TRANSACTION_ENDED" });
});

test("statements started together run one after the other, and those not awaited belong to the transaction", async () => {
  await using at = await accounts();
  await at.db.transaction(async (tx) => {
    await Promise.all(Array.from({ length: 20 }, () => tx.query(sql`update accounts set balance = balance + 1 where id = 1`)));
    void tx.query(sql`update accounts set balance = balance + 1 where id = 2`);
  });
  assert.deepEqual(await at.balances(), [120, 101]);
});

test("a serialization failure runs the callback again, and both transfers count", async () => {
  await using at = await accounts();
  const retried = transactionChannel.next((message) => message.outcome === "retried");
  await Promise.all(
    Array.from({ length: 6 }, () =>
      at.db.transaction(
        async (tx) => {
          const { balance } = await tx.one(sql<{ balance: number }>`select balance from accounts where id = 1`);
          await tx.query(sql`update accounts set balance = ${balance - 10} where id = 1`);
        },
        { isolation: "serializable", retries: 50 },
      ),
    ),
  );
  await retried;
  assert.deepEqual(await at.balances(), [40, 100]);
});

test("a deadlock is run again", async () => {
  await using at = await accounts();
  let met = 0;
  const bothHold = Promise.withResolvers<void>();
  const crossing = (first: number, second: number) =>
    at.db.transaction(async (tx) => {
      await tx.query(sql`update accounts set balance = balance + 1 where id = ${first}`);
      if (++met === 2) bothHold.resolve();
      await bothHold.promise;
      await tx.query(sql`update accounts set balance = balance + 1 where id = ${second}`);
    });
  await Promise.all([crossing(1, 2), crossing(2, 1)]);
  assert.deepEqual(await at.balances(), [102, 102]);
});

test("a backend killed before commit costs nothing: the callback runs again and its work is there once", async () => {
  await using at = await accounts();
  const observer = new pg.Client(at.url);
  await observer.connect();
  let runs = 0;
  await at.db.transaction(async (tx) => {
    runs++;
    await move(tx, 10);
    const { pid } = await tx.one(sql<{ pid: number }>`select pg_backend_pid() as pid`);
    if (runs < 3) await observer.query("select pg_terminate_backend($1, 5000)", [pid]);
  });
  await observer.end();
  assert.equal(runs, 3);
  assert.deepEqual(await at.balances(), [90, 110]);
});

test("a connection that is lost in every run is a database that cannot be reached, not a fault of the callback", async () => {
  await using at = await accounts();
  const observer = new pg.Client(at.url);
  await observer.connect();
  await assert.rejects(
    at.db.transaction(
      async (tx) => {
        const { pid } = await tx.one(sql<{ pid: number }>`select pg_backend_pid() as pid`);
        await observer.query("select pg_terminate_backend($1, 5000)", [pid]);
      },
      { retries: 1 },
    ),
    { code: "MILLRACE_DATABASE_UNAVAILABLE" },
  );
  await observer.end();
});

test("a callback that commits or rolls back by itself is refused, not called committed", async () => {
  await using at = await accounts();
  for (const end of [sql`rollback`, sql`commit`]) {
    await assert.rejects(
      at.db.transaction((tx) => tx.query(end)),
      { code: "MILLRACE_DATABASE_TRANSACTION_ENDED_INSIDE" },
    );
  }
  assert.deepEqual(await at.balances(), [100, 100]);
});

test("read only is enforced by the server", async () => {
  await using at = await accounts();
  await assert.rejects(
    at.db.transaction((tx) => move(tx, 1), { readOnly: true }),
    { code: "25006" },
  );
});

test("a deadline cancels the running statement, rolls back and frees the connection", async () => {
  await using at = await accounts();
  using deadline = new Deadline({ timeoutMs: 60 });
  await assert.rejects(
    runInContext({ requestId: "r1", deadline }, () =>
      at.db.transaction(async (tx) => {
        await move(tx, 10);
        await tx.query(sql`select pg_sleep(60)`);
      }),
    ),
    { code: "MILLRACE_DEADLINE_EXCEEDED" },
  );
  assert.deepEqual(await at.balances(), [100, 100]);
  await at.db.transaction((tx) => move(tx, 5));
  assert.deepEqual(await at.balances(), [95, 105]);
});

test("a deadline also ends a callback that waits for something else while it holds the connection", async () => {
  await using at = await accounts();
  await assert.rejects(
    at.db.transaction(
      async (tx) => {
        await move(tx, 10);
        await new Promise(() => {});
      },
      { signal: AbortSignal.timeout(50) },
    ),
    { name: "TimeoutError" },
  );
  assert.deepEqual(await at.balances(), [100, 100]);
});

test("tells who asked of the commit, once, and never of what was rolled back", async () => {
  await using at = await accounts();
  const told: string[] = [];
  await at.db.transaction(async (tx) => {
    tx.afterCommit(() => told.push("outer"));
    await tx.transaction(async (nested) => nested.afterCommit(() => told.push("kept savepoint")));
    await assert.rejects(
      tx.transaction(async (nested) => {
        nested.afterCommit(() => told.push("rolled back savepoint"));
        throw new Error("back");
      }),
      /back/,
    );
    assert.equal(tx.database, at.db);
    assert.deepEqual(told, []);
  });
  assert.deepEqual(told, ["outer", "kept savepoint"]);
  let runs = 0;
  await at.db.transaction(async (tx) => {
    tx.afterCommit(() => told.push(`run ${++runs}`));
    if (runs++ === 0) throw Object.assign(new Error("serialization"), { code: "40001" });
  });
  assert.deepEqual(told.slice(2), ["run 3"]);
  await assert.rejects(
    at.db.transaction(async (tx) => {
      tx.afterCommit(() => told.push("failed"));
      throw new Error("no");
    }),
  );
  assert.equal(told.length, 3);
});
