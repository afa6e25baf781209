// A seeded schedule: several processes of the kit on a real PostgreSQL, what may fail failing, and every answer compared with what the
// database truly held. docs/freshness-proof.md tells what is in it.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { debianServer } from "../../harness/debian-postgres.ts";
import { testServer } from "../../harness/postgres.ts";
import { testRedis } from "../../harness/redis.ts";
import { type Acknowledged, type Answer, History, type Version, type Violation } from "./history.ts";
import { type FromProcess, type ProcessOptions, type RuleName, type ToProcess, randomNumbers } from "./messages.ts";
import { startProxy } from "./proxy.ts";

export interface ScheduleOptions {
  /** Stops after so many answers. */
  readonly operations: number;
  readonly seed: number;
  readonly source: "logical" | "triggers";
  readonly readsFrom: "primary" | "standby";
  readonly rule?: RuleName;
  readonly redis?: boolean;
  /** Longest run, whatever was reached. Default: none. */
  readonly maxMs?: number;
  /** Stops at the first violation. Default false. */
  readonly untilViolation?: boolean;
  readonly writesPerThousand?: number;
  /** Which faults may happen. Default: all that apply. */
  readonly faults?: readonly FaultName[];
  readonly log?: (line: string) => void;
}

export interface ScheduleResult {
  readonly answers: number;
  readonly fromCache: number;
  readonly writes: number;
  readonly seconds: number;
  readonly violations: readonly Violation[];
  /** How often each fault happened, and what processes counted. */
  readonly faults: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
}

export type FaultName =
  | "a commit waits for synchronous replication"
  | "a process is killed"
  | "a process is frozen"
  | "a feed's network stalls"
  | "a feed's network is cut"
  | "the pool's network is cut"
  | "Redis is frozen"
  | "Redis is flushed"
  | "the standby stops replaying"
  | "a transaction stays open"
  | "the slot's reader is terminated"
  | "the schema changes";

const processes = 3;
const rows = 60;
const groups = 6;
const boundMs = 500;

const seedSql = `
  create table kv (id int primary key, grp int not null, version int not null);
  create index on kv (grp);
  create table kv_history (id int, version int, grp int, primary key (id, version));
  create table other (n int);
  insert into kv select n, 1 + n % ${groups}, 1 from generate_series(1, ${rows}) n;
  insert into kv_history select id, version, grp from kv;`;

const program = fileURLToPath(new URL("process.ts", import.meta.url));

/** Sockets of a URL with host=/directory. */
function socketOf(url: string): string {
  const { searchParams } = new URL(url);
  return `${searchParams.get("host")}/.s.PGSQL.${searchParams.get("port")}`;
}

/** The parts that a schedule stands on: servers, and a relay before each for each process. */
async function openServers({ source, readsFrom, redis = true }: ScheduleOptions, stack: AsyncDisposableStack) {
  const settings = {
    wal_level: source === "logical" ? "logical" : "replica",
    synchronous_commit: "on",
    max_connections: "100",
    max_slot_wal_keep_size: "256MB",
    wal_receiver_status_interval: "1s",
  };
  const quick = { fsync: "off", full_page_writes: "off" };
  const debian = readsFrom === "standby" ? stack.use(await debianServer({ settings })) : undefined;
  const primary = debian ?? stack.use(await testServer({ settings: { ...settings, ...quick } }));
  const admin = new pg.Client(primary.url);
  admin.on("error", () => {});
  await admin.connect();
  stack.defer(() => admin.end());
  await admin.query(seedSql);
  const standby = debian && stack.use(await debian.standby());
  let standbyAdmin: pg.Client | undefined;
  if (standby) {
    const client = new pg.Client(standby.url);
    client.on("error", () => {});
    await client.connect();
    stack.defer(() => client.end());
    standbyAdmin = client;
  }
  const server = redis ? stack.use(await testRedis()) : undefined;
  const relay = async (url: string) => stack.use(await startProxy({ path: socketOf(url) }));
  const relays = [];
  for (let i = 0; i < processes; i++) {
    relays.push({
      pool: await relay(standby?.url ?? primary.url),
      writer: await relay(primary.url),
      feed: await relay(primary.url),
    });
  }
  return { admin, standbyAdmin, redis: server, relays };
}

type Servers = Awaited<ReturnType<typeof openServers>>;

const through = ({ port }: { readonly port: number }): string => `postgresql://postgres@127.0.0.1:${port}/postgres`;

/** A process of the schedule; killed ones are begun anew. */
class Worker {
  readonly index: number;
  readonly #options: ProcessOptions;
  readonly #hear: (message: FromProcess) => void;
  child: ChildProcess | undefined;
  #begun = 0;

  constructor(options: ProcessOptions, hear: (message: FromProcess) => void) {
    this.index = options.process;
    this.#options = options;
    this.#hear = hear;
  }

  /** Starts it. A process that was killed comes back as another one: what it had written, it does not know of any more. */
  start(): void {
    const { seed, process: index } = this.#options;
    const options: ProcessOptions = {
      ...this.#options,
      process: index + processes * this.#begun,
      seed: seed + 1_000 * this.#begun,
    };
    this.#begun++;
    const child = fork(program, [JSON.stringify(options)], {
      execArgv: ["--conditions=millrace-source"],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    child.on("message", (message) => this.#hear(message as FromProcess));
    child.once("exit", (code) => {
      if (code !== null && code !== 0) this.#hear({ kind: "failed", code });
    });
    child.on("error", () => {});
    this.child = child;
  }

  say(message: ToProcess): void {
    if (this.child?.connected) this.child.send(message, () => {});
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (!child) return;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    // A channel that is cut in the middle of a message may stay open on this side, and would keep this process alive.
    if (child.connected) child.disconnect();
    child.unref();
  }
}

interface Fault {
  readonly name: FaultName;
  run(): Promise<void>;
}

function faultsOf(servers: Servers, workers: readonly Worker[], options: ScheduleOptions, random: () => number): readonly Fault[] {
  const { admin, standbyAdmin, redis, relays } = servers;
  const between = (from: number, to: number): number => from + random() * (to - from);
  const one = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;
  const setting = async (value: string): Promise<void> => {
    await admin.query(`alter system set synchronous_standby_names = '${value}'`);
    await admin.query("select pg_reload_conf()");
  };
  const whole: Fault[] = [
    {
      // Nobody is that standby: commits stand in the log, are reported by the feed, and stay invisible until the setting goes.
      name: "a commit waits for synchronous replication",
      async run() {
        await setting("nobody");
        await sleep(between(100, 600));
        await setting("");
      },
    },
    {
      name: "a process is killed",
      async run() {
        const worker = one(workers);
        await worker.kill();
        worker.start();
      },
    },
    {
      name: "a process is frozen",
      async run() {
        const { child } = one(workers);
        child?.kill("SIGSTOP");
        await sleep(between(200, 1_500));
        child?.kill("SIGCONT");
      },
    },
    {
      name: "a feed's network stalls",
      async run() {
        const { feed } = one(relays);
        feed.stall();
        await sleep(between(100, 1_200));
        feed.resume();
      },
    },
    {
      name: "a feed's network is cut",
      async run() {
        const { feed } = one(relays);
        feed.cut();
        await sleep(between(0, 400));
        feed.restore();
      },
    },
    {
      name: "the pool's network is cut",
      async run() {
        const { pool, writer } = one(relays);
        pool.cut();
        writer.cut();
        await sleep(between(0, 200));
        pool.restore();
        writer.restore();
      },
    },
    {
      name: "a transaction stays open",
      async run() {
        await admin.query("begin");
        await admin.query("update kv set version = version where id = $1", [rows + 1]);
        await admin.query("insert into other values (1)");
        await sleep(between(50, 400));
        await admin.query("commit");
      },
    },
    {
      name: "the schema changes",
      async run() {
        await admin.query("create index concurrently if not exists kv_version on kv (version)");
        await admin.query("drop index kv_version");
      },
    },
  ];
  if (options.source === "logical") {
    whole.push({
      name: "the slot's reader is terminated",
      async run() {
        await admin.query("select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null");
      },
    });
  }
  if (redis) {
    whole.push(
      {
        name: "Redis is frozen",
        async run() {
          await redis.pause();
          await sleep(between(50, 600));
          redis.resume();
        },
      },
      {
        name: "Redis is flushed",
        async run() {
          await redis.command("flushall");
        },
      },
    );
  }
  if (standbyAdmin) {
    whole.push({
      name: "the standby stops replaying",
      async run() {
        await standbyAdmin.query("select pg_wal_replay_pause()");
        await sleep(between(100, 900));
        await standbyAdmin.query("select pg_wal_replay_resume()");
      },
    });
  }
  const { faults } = options;
  return faults ? whole.filter((fault) => faults.includes(fault.name)) : whole;
}

/** Runs a schedule to its end and checks all of it. */
export async function runSchedule(options: ScheduleOptions): Promise<ScheduleResult> {
  const { source, readsFrom, rule = "snapshot", seed, operations, log = () => {} } = options;
  await using stack = new AsyncDisposableStack();
  const random = randomNumbers(seed);
  const servers = await openServers(options, stack);

  const answers: Answer[] = [];
  const acknowledged: Acknowledged[] = [];
  const counts: Record<string, number> = {};
  const happened: Record<string, number> = {};
  let stopped = 0;
  let failure: Error | undefined;
  const news = { resolve: () => {} };

  const workers: Worker[] = servers.relays.map((relays, index) => {
    const primaryUrl = through(relays.writer);
    const worker: Worker = new Worker(
      {
        process: index,
        url: readsFrom === "standby" ? through(relays.pool) : primaryUrl,
        primaryUrl,
        feedUrl: through(relays.feed),
        redisUrl: servers.redis?.url,
        source,
        rule,
        boundMs,
        rows,
        groups,
        seed: seed * 7 + index,
        clients: 6,
        writesPerThousand: options.writesPerThousand ?? 20,
      },
      (message) => {
        if (message.kind === "answers") {
          for (const answer of message.answers) answers.push(answer);
          acknowledged.push(...message.acknowledged);
        } else if (message.kind === "token") {
          workers[(index + 1 + Math.floor(random() * (processes - 1))) % processes]!.say(message);
        } else if (message.kind === "failed") {
          failure ??= new Error(`Process ${index} ended with code ${message.code}.`);
        } else if (message.kind === "stopped") {
          stopped++;
          for (const [what, times] of Object.entries(message.counts)) counts[what] = (counts[what] ?? 0) + times;
        }
        news.resolve();
      },
    );
    return worker;
  });
  stack.defer(async () => {
    for (const worker of workers) await worker.kill();
  });

  const startedMs = performance.now();
  const elapsedMs = (): number => performance.now() - startedMs;
  for (const worker of workers) worker.start();

  const readVersions = async (): Promise<readonly Version[]> =>
    (await servers.admin.query<Version>('select id, version, grp as "group" from kv_history order by id, version')).rows;
  const judge = async (): Promise<Violation[]> => {
    const history = new History(await readVersions(), acknowledged, { boundMs, checksMade: readsFrom === "primary" });
    return answers.map((answer) => history.check(answer)).filter((violation) => violation !== undefined);
  };

  const faults = faultsOf(servers, workers, options, random);
  let judgedAtMs = 0;
  while (!failure && answers.length < operations && elapsedMs() < (options.maxMs ?? Infinity)) {
    await sleep(100 + random() * 500);
    if (faults.length > 0 && answers.length > 0) {
      const fault = faults[Math.floor(random() * faults.length)]!;
      log(`${(elapsedMs() / 1000).toFixed(1)} s, ${answers.length} answers: ${fault.name}`);
      await fault.run();
      happened[fault.name] = (happened[fault.name] ?? 0) + 1;
    }
    if (options.untilViolation && elapsedMs() - judgedAtMs > 2_000) {
      judgedAtMs = elapsedMs();
      if ((await judge()).length > 0) break;
    }
  }
  for (const worker of workers) worker.say({ kind: "stop" });
  const untilMs = performance.now() + 30_000;
  while (!failure && stopped < processes && performance.now() < untilMs) {
    await Promise.race([sleep(100), new Promise<void>((resolve) => (news.resolve = resolve))]);
    for (const worker of workers) worker.say({ kind: "stop" });
  }
  if (failure) throw failure;
  if (stopped < processes) throw new Error(`${processes - stopped} of ${processes} processes did not stop within 30 s.`);

  const violations = await judge();
  return {
    answers: answers.length,
    fromCache: answers.filter((answer) => answer.fromCache).length,
    writes: acknowledged.length,
    seconds: elapsedMs() / 1000,
    violations,
    faults: happened,
    counts,
  };
}
