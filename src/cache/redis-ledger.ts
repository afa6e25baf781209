// The ledger of several processes that share a Redis and no PostgreSQL: Redis numbers the invalidations and keeps the last of them.
// docs/cache-stores.md explains it; the argument stands here, because every line below leans on it.
//
// - A process applies invalidations in the order of their numbers. It asks for what it does not know four times in a staleness bound
//   B; the answer to a question asked at τ holds everything acknowledged before τ, since one server answers in order. So an entry is
//   served only while now − τ ≤ B. News by publish/subscribe only make it faster: what they say out of turn is asked for.
// - A gap (the log is bounded, and Redis may evict it) counts as a write to everything.
// - A failover or a restart may lose what was acknowledged, and nobody can know what. The history of a Redis has a name
//   (master_replid), which changes with both; a script that meets another one begins a new generation, and no entry of before is
//   served again. The same when the keys are gone (FLUSHALL, eviction), or when the numbers are lower than what a process has seen.
// - A replica answers no question. A primary that was cut off from its replicas does, unless min-replicas-to-write forbids it to
//   write: every question writes.
// - An invalidation that was not acknowledged may or may not have happened: it is sent again with every question until one is
//   answered, and until then this process serves nothing that depends on it.

import { randomBytes } from "node:crypto";
import { type Clock, type Closeable, type Timer, coreErrors, resolveOptions, systemClock } from "../core/index.ts";
import { type RedisConnection, connectRedis, defineScript, taggedKey } from "../redis/index.ts";
import { type LedgerMessage, ledgerChannel } from "./channels.ts";
import { CountedReading, inheritInRunningReading, overlaps } from "./counted-reading.ts";
import { hashDependencies } from "./dependency-hash.ts";
import { cacheErrors } from "./errors.ts";
import type { Demand, Inherited, Ledger, Reading, Refusal, Stamp } from "./ledger.ts";
import { bounded } from "./store-timeout.ts";
import { type RedisLedgerOptions, redisLedgerChecks, redisLedgerDefaults } from "./stores/options.ts";
import { type Judged, type Versions, createVersions } from "./versions.ts";

/** Questions in a staleness bound: three may be lost or late before anything is bypassed. */
const questionsPerBound = 4;

/** Invalidations that the log keeps, about: ten seconds of a thousand a second, in about 1 MiB. */
const logLength = 10_000;

/** More than this behind, and the answer has no entries: reading them would hold up Redis for longer than filling anew costs. */
const mostEntries = 5_000;

/** Names in one message. More are sent in several. */
const mostNames = 4_096;

/** Names of unacknowledged invalidations that are remembered; beyond, the whole generation is given up. */
const mostOwed = 10_000;

/**
 * KEYS: state, log. ARGV: a generation to begin if one must begin, the generation and number that the caller knows, the channel of
 * news, hashes to invalidate or "", "1" to begin a generation in any case. Answers {generation, number, entries or nil}.
 */
const advanceScript = defineScript(
  "ledger",
  `local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then return redis.error_reply('READONLY the ledger asks primaries only') end
local history = string.match(info, 'master_replid:(%x+)') or ''
local state = redis.call('HMGET', KEYS[1], 'generation', 'number', 'history')
local generation, number, known = state[1], tonumber(state[2] or ''), tonumber(ARGV[3])
if not generation or not number or state[3] ~= history or (ARGV[2] == generation and known > number) or ARGV[6] == '1' then
  generation, number = ARGV[1], 0
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'generation', generation, 'number', 0, 'history', history)
else
  redis.call('HINCRBY', KEYS[1], 'questions', 1)
end
if ARGV[5] ~= '' then
  number = number + 1
  local id = string.format('%.0f', number)
  redis.call('HSET', KEYS[1], 'number', id)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ${logLength}, id .. '-0', 'd', ARGV[5])
  redis.call('PUBLISH', ARGV[4], generation .. ' ' .. id .. ' ' .. ARGV[5])
end
local answer = {generation, string.format('%.0f', number)}
if ARGV[2] == generation and number - known <= ${mostEntries} then
  answer[3] = number > known and redis.call('XRANGE', KEYS[2], string.format('%.0f', known + 1) .. '-0', '+') or {}
end
return answer`,
);

/** A ledger over Redis. */
export interface RedisLedger extends Ledger, Closeable {
  /** starting: no answer from Redis yet. live: entries are judged. silent: the newest answer is older than the staleness bound. */
  readonly state: "starting" | "live" | "silent";
}

/** What one answer of the script says. */
interface Answer {
  readonly generation: number;
  readonly number: number;
  /** Number and hashes of each invalidation that the caller did not know; undefined when they are too many or of another generation. */
  readonly entries: readonly (readonly [number, Uint32Array])[] | undefined;
}

/** Hashes as they travel: little-endian words. */
function encodeHashes(hashes: Uint32Array): Buffer {
  const bytes = Buffer.allocUnsafe(hashes.length * 4);
  for (const [i, word] of hashes.entries()) bytes.writeUInt32LE(word, i * 4);
  return bytes;
}

function decodeHashes(bytes: Buffer): Uint32Array {
  const hashes = new Uint32Array(Math.floor(bytes.byteLength / 8) * 2);
  for (let i = 0; i < hashes.length; i++) hashes[i] = bytes.readUInt32LE(i * 4);
  return hashes;
}

function readAnswer(reply: unknown): Answer {
  const [generation, number, entries] = reply as [Buffer, Buffer, ([Buffer, [Buffer, Buffer]][] | null)?];
  return {
    generation: Number(String(generation)),
    number: Number(String(number)),
    entries: entries?.map(([id, fields]) => [Number.parseInt(String(id), 10), decodeHashes(fields[1])] as const),
  };
}

/** One number for a dependency: of 64 bits the 53 that a number holds. Two that share it are refused together. */
const oneNumber = (low: number, high: number): number => high * 2 ** 21 + (low >>> 11);

/** Invalidations that were asked for together, and who waits for them. */
interface Request {
  readonly hashes: Uint32Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Creates the ledger and begins to ask. Nothing is served from a cache before the first answer.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_REDIS_URL_INVALID, MILLRACE_REDIS_CLIENT_MISSING
 */
export function createRedisLedger(given: RedisLedgerOptions): RedisLedger {
  const options = resolveOptions("createRedisLedger", given, redisLedgerDefaults, redisLedgerChecks);
  if (options.connection && (options.url !== undefined || options.client !== undefined)) {
    throw coreErrors.create("MILLRACE_OPTION_INVALID", {
      subject: "createRedisLedger",
      option: "connection",
      value: "given together with url or client",
      expected: "one of the three",
    });
  }
  const connection = options.connection ?? connectRedis({ url: options.url, client: options.client });
  const base = taggedKey(options.prefix, "ledger");
  return new LedgerOverRedis(connection, !options.connection, base, options.staleness, options.slots, options.clock ?? systemClock);
}

class LedgerOverRedis implements RedisLedger {
  readonly namespace: string;
  generation = 0;
  readonly #connection: RedisConnection;
  readonly #ownsConnection: boolean;
  readonly #base: string;
  readonly #boundMs: number;
  readonly #clock: Clock;
  readonly #versions: Versions;
  readonly #news: Closeable;
  /** Everything up to this number of the generation is in the versions. */
  #applied = 0;
  /** When the newest answered question was asked. */
  #asOfMs = -Infinity;
  #wasSilent = false;
  #requests: Request[] = [];
  /** The questions that are on their way or due, one after the other: answers come in the order of the questions. */
  #asking: Promise<void> | undefined;
  #askAgain = false;
  /** Questions so far, and the newest that was answered. */
  #asked = 0;
  #answered = 0;
  #lastReason = "it has not answered yet";
  /** What was not acknowledged. */
  readonly #owed = new Map<number, readonly [number, number]>();
  #owesEverything = false;
  #timer: Timer | undefined;
  #closed: Promise<void> | undefined;

  constructor(connection: RedisConnection, ownsConnection: boolean, base: string, boundMs: number, slots: number, clock: Clock) {
    this.namespace = base;
    this.#connection = connection;
    this.#ownsConnection = ownsConnection;
    this.#base = base;
    this.#boundMs = boundMs;
    this.#clock = clock;
    this.#versions = createVersions(0, { slots });
    this.#news = connection.subscribe(
      `${base}:news`,
      (message) => this.#onNews(message),
      () => {
        if (!this.#closed) void this.#ask(); // what was published before is asked for
      },
    );
    this.#beat();
  }

  get state(): "starting" | "live" | "silent" {
    if (this.generation === 0) return "starting";
    return this.#isSilent() ? "silent" : "live";
  }

  begin(): Reading {
    // Before the first answer nothing is known: such a stamp is of no generation, and no entry with it is ever served.
    const reading = new CountedReading(this.generation, this.#applied);
    if (this.generation === 0) reading.refuse("the ledger has not heard from Redis yet");
    return reading;
  }

  judge(stamp: Stamp, _order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined {
    if (this.generation === 0) return "feed-starting";
    if (this.#isSilent()) return "feed-silent";
    const isUntouched = judged !== undefined && this.#versions.isUntouched(judged);
    if (!isUntouched && stamp.generation !== this.generation) return "generation";
    if (this.#owes && this.#isOwed(dependencies)) return "own-write";
    if (!isUntouched && !this.#versions.mayServe(stamp.generation, stamp.upTo, dependencies, judged)) return "written";
    if (demand !== undefined && demand.upTo > this.#applied && demand.upTo > stamp.upTo) {
      if (overlaps(demand.dependencies, dependencies)) return "token";
    }
    return undefined;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    inheritInRunningReading(stamp, dependencies, reason, answer);
  }

  /** Always: what was invalidated meanwhile is judged at the end of the fill, by its dependencies. */
  mayJoin(): boolean {
    return true;
  }

  async settled(): Promise<void> {
    this.#assertOpen();
    // A question that is on its way may have been asked too early; the one behind it is not.
    const needed = this.#asked + 1;
    await this.#ask();
    if (this.#answered < needed) throw this.#unavailable(this.#lastReason);
  }

  /** @throws MILLRACE_CACHE_LEDGER_UNAVAILABLE when Redis did not acknowledge it: it is sent again until it does. */
  async invalidate(names: readonly string[]): Promise<void> {
    this.#assertOpen();
    const waits: Promise<void>[] = [];
    for (let at = 0; at < names.length; at += mostNames) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#requests.push({ hashes: hashDependencies(names.slice(at, at + mostNames)), resolve, reject });
      waits.push(promise);
    }
    if (waits.length === 0) return;
    void this.#ask();
    await Promise.all(waits);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#timer?.clear();
    this.#askAgain = false;
    await this.#asking;
    await this.#news.close();
    if (this.#ownsConnection) await this.#connection.close();
    // Nobody hears any more: nothing may be served.
    this.#asOfMs = -Infinity;
  }

  #assertOpen(): void {
    if (this.#closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: "The ledger over Redis" });
  }

  #isSilent(): boolean {
    return this.#clock.monotonic() - this.#asOfMs > this.#boundMs;
  }

  get #owes(): boolean {
    return this.#owesEverything || this.#owed.size > 0;
  }

  #isOwed(dependencies: Uint32Array): boolean {
    if (this.#owesEverything) return true;
    for (let i = 0; i < dependencies.length; i += 2) {
      if (this.#owed.has(oneNumber(dependencies[i]!, dependencies[i + 1]!))) return true;
    }
    return false;
  }

  /** Asks now, and every quarter of the bound. */
  #beat(): void {
    if (this.#closed) return;
    this.#timer = this.#clock.timer(this.#boundMs / questionsPerBound, () => this.#beat());
    void this.#ask();
  }

  /** Resolves when a question asked after this call has been answered, or has failed. Never rejects. */
  #ask(): Promise<void> {
    this.#askAgain = true;
    return (this.#asking ??= this.#askUntilDone());
  }

  async #askUntilDone(): Promise<void> {
    while (this.#askAgain || this.#requests.length > 0) {
      this.#askAgain = false;
      await this.#question(this.#takeRequests());
    }
    this.#asking = undefined; // in the same turn as the last look: whoever asks after it begins anew
  }

  #takeRequests(): Request[] {
    const taken: Request[] = [];
    let words = 0;
    while (this.#requests.length > 0 && (taken.length === 0 || words + this.#requests[0]!.hashes.length <= mostNames * 2)) {
      const request = this.#requests.shift()!;
      words += request.hashes.length;
      taken.push(request);
    }
    return taken;
  }

  /** One question, with what is to be invalidated and what is owed. Settles the requests; never rejects. */
  async #question(requests: readonly Request[]): Promise<void> {
    const owed = [...this.#owed];
    const owesEverything = this.#owesEverything;
    const hashes = [...requests.flatMap((request) => [...request.hashes]), ...owed.flatMap(([, halves]) => halves)];
    const question = ++this.#asked;
    const askedMs = this.#clock.monotonic();
    try {
      const call = this.#connection.run(
        advanceScript,
        [`${this.#base}:state`, `${this.#base}:log`],
        [
          randomBytes(6).readUIntBE(0, 6) + 1,
          this.generation,
          this.#applied,
          `${this.#base}:news`,
          encodeHashes(Uint32Array.from(hashes)),
          owesEverything ? "1" : "0",
        ],
      );
      const expire = () => new Error(`no answer within ${this.#boundMs} ms`);
      this.#apply(readAnswer(await bounded(this.#clock, this.#boundMs, call, expire).promise), askedMs);
      this.#answered = question;
      for (const [number] of owed) this.#owed.delete(number);
      if (owesEverything) this.#owesEverything = false;
      for (const { resolve } of requests) resolve();
    } catch (error) {
      this.#lastReason = error instanceof Error ? error.message : String(error);
      for (const { hashes } of requests) this.#owe(hashes);
      for (const { reject } of requests) reject(this.#unavailable(this.#lastReason, error));
      if (!this.#wasSilent && this.#isSilent()) {
        this.#wasSilent = true;
        this.#publish({ event: "silent", reason: this.#lastReason });
      }
    }
  }

  #owe(hashes: Uint32Array): void {
    for (let i = 0; i < hashes.length; i += 2) {
      this.#owed.set(oneNumber(hashes[i]!, hashes[i + 1]!), [hashes[i]!, hashes[i + 1]!]);
    }
    if (this.#owed.size <= mostOwed) return;
    this.#owed.clear();
    this.#owesEverything = true;
  }

  #apply({ generation, number, entries }: Answer, askedMs: number): void {
    if (generation !== this.generation) {
      // Which writes of it came before is not known here, so an entry must reflect all of them.
      this.#versions.startGeneration(generation);
      this.#versions.bumpAll(number);
      this.generation = generation;
      this.#applied = number;
      this.#publish({ event: "generation" });
    } else if (number > this.#applied) {
      const first = this.#applied;
      for (const [entry, hashes] of entries ?? []) {
        if (entry !== this.#applied + 1) continue; // known by news meanwhile; or beyond a gap
        this.#bump(hashes, entry);
        this.#applied = entry;
      }
      if (this.#applied < number) {
        this.#versions.bumpAll(number);
        this.#applied = number;
        this.#publish({ event: "gap", missed: number - first });
      }
    }
    this.#asOfMs = Math.max(this.#asOfMs, askedMs);
    if (this.#wasSilent && !this.#isSilent()) {
      this.#wasSilent = false;
      this.#publish({ event: "live" });
    }
  }

  #bump(hashes: Uint32Array, number: number): void {
    for (let i = 0; i < hashes.length; i += 2) this.#versions.bump(hashes[i]!, hashes[i + 1]!, number);
  }

  /** "generation number hashes". Only the next number of the known generation is taken from it; anything else is asked for. */
  #onNews(message: Buffer): void {
    if (this.#closed) return;
    const first = message.indexOf(32);
    const second = message.indexOf(32, first + 1);
    if (first === -1 || second === -1) return;
    const number = Number(message.toString("latin1", first + 1, second));
    if (Number(message.toString("latin1", 0, first)) !== this.generation) {
      void this.#ask();
    } else if (number === this.#applied + 1) {
      this.#bump(decodeHashes(message.subarray(second + 1)), number);
      this.#applied = number;
    } else if (number > this.#applied) {
      void this.#ask();
    }
  }

  #publish(about: Omit<LedgerMessage, "namespace" | "generation">): void {
    if (!ledgerChannel.hasSubscribers) return;
    ledgerChannel.publish({ namespace: this.namespace, generation: this.generation, ...about });
  }

  #unavailable(reason: string, cause?: unknown) {
    return cacheErrors.create("MILLRACE_CACHE_LEDGER_UNAVAILABLE", { server: this.#connection.server, reason }, cause);
  }
}
