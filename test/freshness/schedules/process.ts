// One process of a schedule: the kit as a service would use it, and clients that read, write, and carry tokens. It says what it was
// answered and when; whether that was right is judged elsewhere (history.ts).

import { createCache, redisStore } from "millrace/cache";
import { Deadline, type WorkContext, runInContext } from "millrace/concurrency";
import { createDatabase, sql } from "millrace/database";
import type { Demand } from "millrace/cache";
import { createFreshnessWith } from "../../../src/freshness/create-freshness.ts";
import type { Acknowledged, Answer, AnswerRow } from "./history.ts";
import { type FromProcess, type ProcessOptions, type ToProcess, nowMs, randomNumbers } from "./messages.ts";
import { rules } from "./rules.ts";

const options = JSON.parse(process.argv[2]!) as ProcessOptions;
const { rows, groups, boundMs } = options;
const random = randomNumbers(options.seed);
const below = (limit: number): number => Math.floor(random() * limit);
/** Some rows are asked for and written far more often than others. */
const someRow = (): number => 1 + Math.floor(rows * random() ** 3);

/** A parent that is gone wants to hear nothing more. */
const say = (message: FromProcess): void => {
  if (process.connected) process.send!(message);
};
process.once("disconnect", () => process.exit());

const database = await createDatabase({ url: options.url, cursorSecret: "schedules, schedules, schedules, schedules" });
const writer =
  options.url === options.primaryUrl
    ? database
    : await createDatabase({ url: options.primaryUrl, cursorSecret: "schedules, schedules, schedules, schedules" });
const freshness = await createFreshnessWith(
  {
    database,
    writers: writer === database ? [] : [writer],
    url: options.feedUrl,
    source: options.source,
    bound: `${boundMs}ms`,
    history: true,
    allowUnboundedSlot: true,
  },
  rules[options.rule],
);
const store = options.redisUrl === undefined ? undefined : redisStore({ url: options.redisUrl });
const cache = createCache({ ledger: freshness.ledger, ...(store && { store }) });

interface Named {
  readonly token: string;
  readonly id: number;
  readonly version: number;
}
const inbox: Named[] = [];
let stopping = false;
process.on("message", (message: ToProcess) => {
  if (message.kind === "stop") stopping = true;
  else if (inbox.length < 100) inbox.push(message);
});

let answers: Answer[] = [];
let acknowledged: Acknowledged[] = [];
function flush(): void {
  if (answers.length + acknowledged.length > 0) say({ kind: "answers", answers, acknowledged });
  answers = [];
  acknowledged = [];
}

const counts: Record<string, number> = {};
const count = (what: string): void => {
  counts[what] = (counts[what] ?? 0) + 1;
};

/** Faults fail some of it; which ones is told at the end. */
const countFailure = (what: string, error: unknown): void => {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  count(`${what} failed: ${code ?? message}`);
};

const policy = { ttl: "3s", stale: "10s" } as const;

interface Found {
  readonly id: number;
  readonly version: number;
}

async function read(of: Answer["of"], named?: Named): Promise<void> {
  const fill = (): Promise<readonly Found[]> =>
    "id" in of
      ? database.many<Found>(sql`select id, version from kv where id = ${of.id}`)
      : database.many<Found>(sql`select id, version from kv where grp = ${of.group}`);
  const demand: Demand | undefined = named && freshness.tokens.read(named.token);
  const askedAtMs = nowMs();
  try {
    const reading = cache.read("id" in of ? `row:${of.id}` : `group:${of.group}`, policy, fill, { demand });
    const outcome = reading instanceof Promise ? await reading : reading;
    count(outcome.state);
    const isMade = outcome.state === "miss" || outcome.state === "joined" || outcome.state === "bypass";
    answers.push({
      process: options.process,
      askedAtMs,
      of,
      rows: outcome.value.map(({ id, version }): AnswerRow => [id, version]),
      fromCache: !isMade,
      ...(named && { token: [named.id, named.version] as const }),
    });
  } catch (error) {
    countFailure("read", error);
  }
  if (answers.length >= 1_000) flush();
}

const history = sql`insert into kv_history (id, version, grp) select id, version, grp from written returning id, version`;

async function write(): Promise<void> {
  const id = someRow();
  const group = random() < 0.2 ? 1 + below(groups) : undefined;
  const update = sql<
    Found & { grp: number }
  >`update kv set version = version + 1, grp = coalesce(${group ?? null}::int, grp) where id = ${id} returning *`;
  using deadline = new Deadline({ timeoutMs: 5_000 });
  const context: WorkContext = { requestId: "write", deadline };
  try {
    await runInContext(context, async () => {
      const written =
        random() < 0.5
          ? await writer.one<Found>(sql`with written as (${update}) ${history}`)
          : await writer.transaction(async (tx) => {
              const [row] = await tx.many<Found & { grp: number }>(update);
              return tx.one<Found>(
                sql`insert into kv_history (id, version, grp) values (${row!.id}, ${row!.version}, ${row!.grp}) returning id, version`,
              );
            });
      acknowledged.push({ id: written.id, version: written.version, process: options.process, atMs: nowMs() });
      count("write");
      // Its own write, in the moment after: the hardest.
      await read({ id });
      if (random() < 0.3) {
        const token = await freshness.tokens.issue(context);
        if (token !== undefined) say({ kind: "token", token, id: written.id, version: written.version });
      }
    });
  } catch (error) {
    countFailure("write", error);
  }
}

async function client(): Promise<void> {
  for (let turn = 1; !stopping; turn++) {
    const draw = random() * 1_000;
    const named = inbox.pop();
    if (named) await read({ id: named.id }, named);
    else if (draw < options.writesPerThousand) await write();
    else if (draw < 900) await read({ id: someRow() });
    else await read({ group: 1 + below(groups) });
    // Hits are answered without a pause: let the feed, the network and the other clients have their turn.
    if (turn % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

await freshness.ready();
say({ kind: "ready" });
await Promise.all(Array.from({ length: options.clients }, client));
flush();
say({ kind: "stopped", counts });
await cache.close();
await freshness.close();
if (writer !== database) await writer.close();
await database.close();
process.disconnect?.();
