// The race that caches lose: an invalidation lands while a fill is running that has already read the old row. Everybody does what
// their documentation says; then it is asked how long the old value is served.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { testRedis } from "../../test/harness/redis.ts";
import { benchDatabase } from "../harness/database.ts";
import type { BenchOptions } from "../harness/options.ts";
import { printTable } from "../harness/rounds.ts";
import type { FromRacer, RaceOptions, ToRacer } from "../peers/race.ts";

const peers = ["bentocache", "cacheable", "cache-manager", "cachified", "async-cache-dedupe", "millrace, told by hand", "millrace"];
/** Beyond this nothing changes any more until the ttl of a minute has passed. */
const watchedMs = 3_000;
const answerTimeoutMs = 30_000;

const program = fileURLToPath(new URL("../peers/race.ts", import.meta.url));

type Answer = Extract<FromRacer, { kind: "answer" }>;

class Racer {
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  readonly #ended: Promise<never>;
  #calls = 0;
  #hears: { readonly kind: FromRacer["kind"]; readonly resolve: () => void }[] = [];

  constructor(options: RaceOptions) {
    this.#child = fork(program, [JSON.stringify(options)], {
      execArgv: ["--conditions=millrace-source", "--disable-warning=ExperimentalWarning"],
    });
    this.#ended = new Promise<never>((_, reject) => {
      this.#child.once("exit", (code) => reject(new Error(`A process has ended with ${code}.`)));
    });
    this.#ended.catch(() => {}); // heard where something is awaited
    this.#child.on("message", (message: FromRacer) => {
      if (message.kind === "answer") {
        this.#answers.get(message.call)?.(message);
        this.#answers.delete(message.call);
      }
      this.#hears = this.#hears.filter((each) => {
        if (each.kind === message.kind) each.resolve();
        return each.kind !== message.kind;
      });
    });
  }

  /** Resolves when it says so; rejects when it ends or is silent. */
  async hears(kind: FromRacer["kind"]): Promise<void> {
    await this.#within(new Promise<void>((resolve) => this.#hears.push({ kind, resolve })), kind);
  }

  get(held = false): Promise<Answer> {
    return this.#call((call) => ({ kind: "get", call, held }));
  }

  async invalidate(): Promise<void> {
    await this.#call((call) => ({ kind: "invalidate", call }));
  }

  goOn(): void {
    this.#say({ kind: "go on" });
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }

  #call(message: (call: number) => ToRacer): Promise<Answer> {
    const call = ++this.#calls;
    const answer = new Promise<Answer>((resolve) => this.#answers.set(call, resolve));
    this.#say(message(call));
    return this.#within(answer, "an answer");
  }

  #say(message: ToRacer): void {
    this.#child.send(message);
  }

  async #within<Result>(promise: Promise<Result>, what: string): Promise<Result> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`A process did not say within ${answerTimeoutMs} ms: ${what}.`)),
      answerTimeoutMs,
    );
    try {
      return await Promise.race([promise, this.#ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

interface Outcome {
  /** Milliseconds after the write until the last process had the new value; Infinity: not while it was watched. */
  readonly staleMs: number;
  /** Answers while it was watched, and those of them that were not filled for it. */
  readonly answers: number;
  readonly fromCache: number;
  /** Answers with the old value after the invalidation had returned and the fill had ended. */
  readonly staleAnswers: number;
}

/** One race: the first process fills, the last invalidates. */
async function race(options: RaceOptions, processes: number, writer: pg.Client): Promise<Outcome> {
  const racers = Array.from({ length: processes }, () => new Racer(options));
  try {
    await Promise.all(racers.map((racer) => racer.hears("ready")));
    const filling = racers[0]!;
    const invalidating = racers.at(-1)!;
    // Warm: whatever is set up at first use is set up, and what was kept meanwhile is invalidated again.
    const { rows } = await writer.query<{ v: number }>("update race set v = v + 1 where id = 1 returning v");
    for (let turn = 0; turn < 5; turn++) {
      for (const racer of racers) await racer.get();
      await pause(200);
    }
    const old = rows[0]!.v + 1;
    await writer.query("update race set v = $1 where id = 1", [old]);
    for (const racer of racers) await racer.invalidate();
    await pause(500);

    const hasRead = filling.hears("has read");
    const held = filling.get(true);
    await hasRead;
    await writer.query("update race set v = $1 where id = 1", [old + 1]);
    const writtenMs = performance.now();
    await invalidating.invalidate();
    await pause(50);
    filling.goOn();
    await held;
    let answers = 0;
    let fromCache = 0;
    let staleAnswers = 0;
    let freshSinceMs: number | undefined;
    while (performance.now() - writtenMs < watchedMs) {
      let isFresh = true;
      for (const racer of racers) {
        const { value, filled } = await racer.get();
        answers++;
        if (!filled) fromCache++;
        if (value === old) {
          staleAnswers++;
          isFresh = false;
        }
      }
      if (!isFresh) freshSinceMs = undefined;
      else freshSinceMs ??= performance.now();
      await pause(20);
    }
    // Who keeps nothing serves nothing old, and shows nothing.
    if (fromCache < answers / 2)
      throw new Error(`${options.peer} filled ${answers - fromCache} of ${answers} answers: it does not cache.`);
    const staleMs = freshSinceMs === undefined ? Infinity : staleAnswers === 0 ? 0 : freshSinceMs - writtenMs;
    return { staleMs, answers, fromCache, staleAnswers };
  } finally {
    for (const racer of racers) racer.close();
  }
}

export async function run({ only }: BenchOptions): Promise<unknown> {
  await using database = await benchDatabase([
    "create table race (id int primary key, v int not null)",
    "insert into race values (1, 0)",
  ]);
  await using redis = await testRedis();
  const writer = new pg.Client(database.url);
  await writer.connect();
  const results: Record<string, Record<string, Outcome>> = {};
  const table: string[][] = [];
  const text = ({ staleMs, staleAnswers }: Outcome): string =>
    staleAnswers === 0 ? "never" : staleMs === Infinity ? "until its ttl" : `${staleMs.toFixed(0)} ms`;
  try {
    for (const peer of peers.filter((each) => !only || only.includes(each))) {
      process.stderr.write(`\r\x1b[K${peer}`);
      const one = await race({ peer, databaseUrl: database.url, redisUrl: undefined }, 1, writer);
      results[peer] = { one };
      let several = "–";
      if (peer !== "millrace, told by hand") {
        await redis.command("flushall");
        const three = await race({ peer, databaseUrl: database.url, redisUrl: redis.url }, 3, writer);
        results[peer]["three"] = three;
        several = text(three);
      }
      table.push([peer, text(one), several]);
    }
  } finally {
    await writer.end();
  }
  process.stderr.write("\r\x1b[K");
  printTable(["the old value is served", "one process", "three and Redis"], table);
  console.log(`Watched for ${watchedMs / 1000} s; the ttl is a minute.`);
  return results;
}
