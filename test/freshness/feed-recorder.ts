// A listener that remembers what the feed told it, and waits for more.

import { setTimeout as sleep } from "node:timers/promises";
import { hashDependencies } from "../../src/cache/index.ts";
import type { Feed, FeedCommit, FeedListener, FeedState, TableName } from "../../src/freshness/index.ts";
import { type FeedOptions, createFeed } from "../../src/freshness/index.ts";
import { Client } from "pg";

/** How long anything may take on a busy machine. */
export const boundMs = 30_000;

export async function until<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const endMs = performance.now() + boundMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > endMs) throw new Error(`Waited in vain for ${what}.`);
    await sleep(5);
  }
}

export class Recorder implements FeedListener {
  readonly commits: FeedCommit[] = [];
  readonly restarts: { generation: number; floor: number; horizon: bigint }[] = [];
  readonly followed = new Map<string, number>();
  readonly states: FeedState[] = [];
  upTo = 0;
  /** What broke the contract of FeedListener. */
  readonly violations: string[] = [];

  onCommits(commits: readonly FeedCommit[], upTo: number): void {
    if (this.restarts.length === 0) this.violations.push("commits before a restart");
    let last = this.upTo;
    for (const commit of commits) {
      if (commit.number <= last || commit.number > upTo)
        this.violations.push(`commit ${commit.number} after ${last}, up to ${upTo}`);
      last = commit.number;
      this.commits.push(commit);
      if (commit.everything) this.followed.clear();
    }
    if (upTo <= this.upTo) this.violations.push(`up to ${upTo} after ${this.upTo}`);
    this.upTo = upTo;
  }
  onRestart(start: { readonly generation: number; readonly floor: number; readonly horizon: bigint }): void {
    this.restarts.push(start);
    this.upTo = start.floor;
    this.followed.clear();
  }
  onHistory(): void {}
  onFollowed({
    table,
    column,
    number,
  }: {
    readonly table: string;
    readonly column: string | undefined;
    readonly number: number;
  }): void {
    this.followed.set(column === undefined ? table : `${table}:${column}`, number);
  }
  onState(state: FeedState): void {
    this.states.push(state);
  }

  /** Whether the commits since `from` (an index) touched `name`. */
  touched(name: string, from = 0): boolean {
    const [low, high] = hashDependencies([name]);
    return this.commits.slice(from).some(({ dependencies }) => {
      for (let i = 0; i < dependencies.length; i += 2) if (dependencies[i] === low && dependencies[i + 1] === high) return true;
      return false;
    });
  }
}

export interface RunningFeed extends AsyncDisposable {
  readonly feed: Feed;
  readonly heard: Recorder;
  /** Resolves when everything acknowledged before this call has been told. */
  caughtUp(): Promise<void>;
  /** Follows a table and columns of it, and resolves when they are. */
  follow(table: string, ...columns: string[]): Promise<void>;
}

/** Integers, booleans, text and uuid are written as PostgreSQL prints them; it is enough for these tests. */
const canonicalValue = (typeOid: number, text: string): string | undefined =>
  [16, 20, 21, 23, 25, 1043, 2950].includes(typeOid) ? text : undefined;

export async function startFeed(given: Omit<FeedOptions, "canonicalValue">): Promise<RunningFeed> {
  const options = { canonicalValue, ...given };
  const heard = new Recorder();
  const feed = createFeed(options, heard);
  const running: RunningFeed = {
    feed,
    heard,
    async caughtUp() {
      const mark = await until("a mark", () => feed.mark().catch(() => undefined));
      let again = performance.now() + 1_000;
      await until(`the mark ${mark}`, async () => {
        if (heard.upTo >= mark && heard.restarts.length > 0) return true;
        if (performance.now() > again) {
          again += 1_000;
          await feed.mark().catch(() => undefined); // the last one may have gone with a crash
        }
        return false;
      });
    },
    async follow(table, ...columns) {
      const name = await tableNamed(options.url, table);
      feed.follow(name, columns);
      await until(`${table} to be followed`, () => {
        const refusal = feed.refusalOf(name);
        if (refusal !== undefined) throw new Error(refusal);
        return ["", ...columns.map((column) => `:${column}`)].every((suffix) => heard.followed.has(`${table}${suffix}`));
      });
    },
    [Symbol.asyncDispose]: () => feed.close(),
  };
  return running;
}

/** Runs statements on a connection of its own, one after the other. */
export async function run(url: string, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url, application_name: "test" });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.query<Record<string, unknown>>(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

export async function tableNamed(url: string, table: string): Promise<TableName> {
  const [row] = await run(
    url,
    `select c.oid::int as oid, nspname as schema, relname as name from pg_class c join pg_namespace n on n.oid = relnamespace
      where c.oid = '${table}'::regclass`,
  );
  return row as unknown as TableName;
}
