// The log table's source under test: installed on a database, run as the elected process runs it, its batches kept.

import { Client } from "pg";
import { hashDependencies } from "../../src/cache/index.ts";
import { systemClock } from "../../src/core/index.ts";
import { dependencyNames } from "../../src/freshness/index.ts";
import { numberOfLsn, parseLsn } from "../../src/freshness/feed/number.ts";
import { type Session, openSession } from "../../src/freshness/feed/session.ts";
import type { Batch, Source } from "../../src/freshness/feed/source.ts";
import { createTriggersSource } from "../../src/freshness/feed/triggers/index.ts";

/** On a machine that is busy with other tests. */
const boundMs = 30_000;

/** As every session of the feed: what it writes waits for no standby. */
const settings = { synchronous_commit: "local" };

/** A client that ends with its block. */
export async function connect(url: string): Promise<Client & AsyncDisposable> {
  const client = new Client({ connectionString: url, application_name: "test writer" });
  client.on("error", () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

const textTypes = new Set([16, 20, 21, 23, 25, 1043, 1082, 17]);

export const sourceOf = (url: string): Source =>
  createTriggersSource({
    connect: (purpose) => openSession({ url, purpose, clock: systemClock, timeoutMs: boundMs, settings }),
    clock: systemClock,
    canonicalValue: (type, text) => (textTypes.has(type) ? text : undefined),
    intervalMs: 250,
    maxDependenciesPerCommit: 2_000,
  });

/** Names as one text per hash, so that sets of them can be compared. */
export const hashOf = (name: string): string => hashDependencies([name]).join(":");

export interface TriggerFeed extends AsyncDisposable {
  readonly source: Source;
  readonly session: Session;
  readonly batches: readonly Batch[];
  /** Follows in a transaction of its own; returns the refusal. */
  follow(name: string, columns?: readonly string[]): Promise<string | undefined>;
  /** Resolves when everything that was acknowledged before the call is published. */
  settled(): Promise<void>;
  /** Forgets the batches so far. */
  clear(): void;
  /** Whether anything published since clear() touches the dependency of this name. */
  touched(name: string): boolean;
  /** As it ends with its process: without saving anything. */
  crash(): Promise<void>;
  /** Why run() rejected. */
  readonly failure: unknown;
}

export interface TriggerFeedOptions {
  /** Waits before a batch counts as published, or throws. */
  readonly beforePublish?: (batch: Batch) => Promise<void>;
}

export async function startTriggerFeed(url: string, options: TriggerFeedOptions = {}): Promise<TriggerFeed> {
  const source = sourceOf(url);
  const session = await openSession({ url, purpose: "test feed", clock: systemClock, timeoutMs: boundMs, settings });
  await session.transaction(async (tx) => {
    await tx.query("create schema if not exists millrace");
    await source.install(tx);
  });
  await source.prepare(session, new AbortController().signal);
  const batches: Batch[] = [];
  let upTo = 0;
  let crashed = false;
  let failure: unknown;
  const waiting = new Set<() => void>();
  const stop = new AbortController();
  const publish = async (batch: Batch): Promise<void> => {
    if (crashed) throw new Error("The relay has crashed.");
    await options.beforePublish?.(batch);
    batches.push(batch);
    ({ upTo } = batch);
    for (const look of waiting) look();
  };
  const running = source.run(publish, stop.signal).catch((error: unknown) => {
    failure = error;
    for (const look of waiting) look();
  });
  const passed = (number: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(() => reject(new Error(`Number ${number} was not passed: at ${upTo}.`))), boundMs);
      const finish = (end: () => void): void => {
        clearTimeout(timer);
        waiting.delete(look);
        end();
      };
      const look = (): void => {
        if (upTo >= number) finish(resolve);
        else if (failure) finish(() => reject(failure));
      };
      waiting.add(look);
      look();
    });
  return {
    source,
    session,
    batches,
    get failure() {
      return failure;
    },
    async follow(name, columns = []) {
      const [schema, table] = name.includes(".") ? name.split(".") : ["public", name];
      return await session.transaction(async (tx) => {
        const [row] = await tx.query<{ oid: number }>("select $1::regclass::oid::int as oid", [`${schema}.${table}`]);
        await tx.query(`lock table ${schema}.${table} in share row exclusive mode`);
        return await source.followTable(tx, { oid: row!.oid, schema: schema!, name: table! }, columns);
      });
    },
    async settled() {
      const [row] = await session.query<{ mark: string }>("select pg_logical_emit_message(true, 'millrace', 'mark')::text as mark");
      source.nudge();
      await passed(numberOfLsn(parseLsn(row!.mark)));
    },
    clear() {
      batches.length = 0;
    },
    touched: (name) => {
      const [low, high] = hashDependencies([name]);
      return batches.some(({ commits }) =>
        commits.some(({ dependencies }) => {
          for (let i = 0; i < dependencies.length; i += 2) if (dependencies[i] === low && dependencies[i + 1] === high) return true;
          return false;
        }),
      );
    },
    async crash() {
      crashed = true;
      await running;
      await session.close();
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      await session.close();
    },
  };
}

/** Names of dependencies of tables in the schema public. */
export const of = {
  table: (name: string) => dependencyNames.table("public", name),
  row: (name: string, column: string, value: string) => dependencyNames.row("public", name, column, value),
  rows: (name: string) => dependencyNames.rows("public", name),
};
