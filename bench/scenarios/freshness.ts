// What freshness costs and how fast it is: from a commit to every process's cache, what survives a write of another tenant, answers that
// are thrown away by mistake, and what each feed costs writers.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { createVersions, hashDependencies } from "../../src/cache/index.ts";
import { testServer } from "../../test/harness/postgres.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Candidate, interleave, printComparison, printTable } from "../harness/rounds.ts";
import type { FromListener, ListenerOptions, ToListener } from "../peers/freshness-listener.ts";

const processes = 3;
const tenants = 100;
const sources = ["logical", "triggers"] as const;
const program = fileURLToPath(new URL("../peers/freshness-listener.ts", import.meta.url));
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

const seed = `create table items (id bigint generated always as identity primary key, tenant_id int not null, v int not null);
  create index on items (tenant_id, id);
  insert into items (tenant_id, v) select n % ${tenants}, 0 from generate_series(0, ${tenants * 20 - 1}) n;`;

class Listener {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  #waiting: { readonly kind: FromListener["kind"]; readonly resolve: (message: FromListener) => void }[] = [];

  constructor(options: ListenerOptions) {
    this.#child = fork(program, [JSON.stringify(options)], { execArgv: ["--disable-warning=ExperimentalWarning"] });
    this.#ended = new Promise<never>((_, reject) => {
      this.#child.once("exit", (code) => reject(new Error(`A process has ended with ${code}.`)));
    });
    this.#ended.catch(() => {}); // heard where something is awaited
    this.#child.on("message", (message: FromListener) => {
      const waiting = this.#waiting.find(({ kind }) => kind === message.kind);
      this.#waiting = this.#waiting.filter((each) => each !== waiting);
      waiting?.resolve(message);
    });
  }

  async hears<Kind extends FromListener["kind"]>(kind: Kind, asking?: ToListener): Promise<Extract<FromListener, { kind: Kind }>> {
    const heard = new Promise<FromListener>((resolve) => this.#waiting.push({ kind, resolve }));
    if (asking) this.#child.send(asking);
    return (await Promise.race([heard, this.#ended])) as Extract<FromListener, { kind: Kind }>;
  }

  async close(): Promise<void> {
    const gone = this.#ended.catch(() => {});
    this.#child.kill("SIGTERM");
    await gone;
  }
}

const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!;

interface Delivery {
  readonly delays: readonly number[];
  readonly survivors: readonly number[];
}

/** Writes one row, and again, and sees when every process has dropped the tenant's answer, and how many of the others' are left. */
async function deliver(url: string, source: (typeof sources)[number], writes: number): Promise<Delivery> {
  const listeners = Array.from({ length: processes }, () => new Listener({ databaseUrl: url, source, tenants }));
  const writer = new pg.Client(url);
  await writer.connect();
  const delays: number[] = [];
  const survivors: number[] = [];
  try {
    await Promise.all(listeners.map((listener) => listener.hears("ready")));
    for (let turn = 0; turn < writes; turn++) {
      process.stderr.write(`\r\x1b[K${source}: write ${turn + 1} of ${writes}`);
      const tenant = turn % tenants;
      await Promise.all(listeners.map((listener) => listener.hears("filled", { kind: "fill" })));
      const refused = listeners.map((listener) => listener.hears("refused"));
      await Promise.all(listeners.map((listener) => listener.hears("watching", { kind: "watch", tenant })));
      await writer.query("insert into items (tenant_id, v) values ($1, $2)", [tenant, turn]);
      const committedMs = nowMs();
      const times = await Promise.all(refused);
      delays.push(Math.max(0, Math.max(...times.map(({ atMs }) => atMs)) - committedMs));
      for (const listener of listeners) survivors.push((await listener.hears("count", { kind: "count" })).served / (tenants - 1));
    }
  } finally {
    for (const listener of listeners) await listener.close();
    await writer.end();
  }
  return { delays, survivors };
}

/** Commits per second of one client that writes one row each, with nothing else, and with each feed. */
async function writersOf(urls: Readonly<Record<string, string>>, seconds: number, rounds: number) {
  const candidates: Candidate[] = Object.entries(urls).map(([name, url]) => ({
    name,
    async measure() {
      const writer = new pg.Client(url);
      await writer.connect();
      const untilMs = nowMs() + seconds * 1_000;
      let commits = 0;
      const text = "update items set v = v + 1 where id = $1";
      while (nowMs() < untilMs) await writer.query({ name: "w", text, values: [1 + (commits++ % (tenants * 20))] });
      await writer.end();
      return commits / seconds;
    },
  }));
  return await interleave(candidates, rounds);
}

/** Of dependencies that nobody writes, the share that looks written, by age of the answer, at a thousand writes of one row a second. */
function mistakes(ages: readonly number[]): number[] {
  const probes = hashDependencies(Array.from({ length: 50_000 }, (_, i) => `public.items:tenant_id=untouched${i}`));
  return ages.map((age) => {
    const versions = createVersions(1);
    const table = hashDependencies(["public.items"]);
    for (let write = 1; write <= age * 1_000; write++) {
      const row = hashDependencies([`public.items:id=${write}`, `public.items:tenant_id=${write % 10_000}`]);
      versions.bump(table[0]!, table[1]!, write);
      for (let i = 0; i < row.length; i += 2) versions.bump(row[i]!, row[i + 1]!, write);
    }
    let wrong = 0;
    for (let i = 0; i < probes.length; i += 2) if (!versions.mayServe(1, 0, probes.subarray(i, i + 2))) wrong++;
    return (200 * wrong) / probes.length;
  });
}

export async function run({ rounds = 3, seconds, rows = 100 }: BenchOptions): Promise<unknown> {
  const results: Record<string, unknown> = {};
  const table: string[][] = [];
  const settings = { max_connections: "100", max_slot_wal_keep_size: "1GB" };
  for (const source of sources) {
    await using server = await testServer({ settings });
    const admin = new pg.Client(server.url);
    await admin.connect();
    await admin.query(seed);
    await admin.end();
    const { delays, survivors } = await deliver(server.url, source, rows);
    const mean = survivors.reduce((sum, share) => sum + share, 0) / survivors.length;
    table.push([
      source,
      percentile(delays, 0.5).toFixed(1),
      percentile(delays, 0.99).toFixed(1),
      Math.max(...delays).toFixed(1),
      `${(100 * mean).toFixed(1)} %`,
      `${(100 * Math.min(...survivors)).toFixed(1)} %`,
    ]);
    results[source] = { delays, meanSurvivors: mean };
  }
  process.stderr.write("\r\x1b[K");
  console.log(
    `\nFrom the commit's acknowledgement until the last of ${processes} processes does not serve the tenant's answer any more`,
  );
  printTable(["feed", "p50 ms", "p99 ms", "worst ms", "others' answers that survive", "at worst"], table);

  // One server each, so that no feed reads another's writes; only one of them is written to at a time.
  await using stack = new AsyncDisposableStack();
  const urls: Record<string, string> = {};
  for (const name of ["no feed", ...sources] as const) {
    const server = stack.use(await testServer({ settings }));
    const admin = new pg.Client(server.url);
    await admin.connect();
    await admin.query(seed);
    await admin.end();
    urls[name] = server.url;
    if (name === "no feed") continue;
    const listener = new Listener({ databaseUrl: server.url, source: name, tenants: 5 });
    stack.defer(() => listener.close());
    await listener.hears("ready");
    await listener.hears("filled", { kind: "fill" });
  }
  const samples = await writersOf(urls, seconds, rounds);
  console.log("\nOne client, one row per commit, on a server each");
  printComparison("commits/s", samples, ["no feed"]);
  results["writers"] = samples;

  const ages = [10, 30, 60, 120];
  const shares = mistakes(ages);
  console.log("\nAnswers of which nothing was written that are thrown away, a thousand writes a second, two columns followed");
  printTable(
    ["age of the answer", ...ages.map((age) => `${age} s`)],
    [["% per dependency", ...shares.map((share) => share.toFixed(2))]],
  );
  results["mistakes"] = shares;
  return results;
}
