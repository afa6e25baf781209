// The change feed of one process: a session that listens, sends marks and stands for election; the source, when it is elected; and what
// keeps all of it going when the server, a process or a connection fails. docs/change-feed.md explains it.

import { type Clock, createLifecycle } from "../../core/index.ts";
import { advisoryLockClass, advisoryLocks } from "../../database/index.ts";
import { feedBatchChannel, feedStateChannel } from "../channels.ts";
import { freshnessErrors } from "../errors.ts";
import type { Feed, FeedListener, FeedState, TableName } from "../feed.ts";
import { runElected } from "./elected.ts";
import { Following } from "./following.ts";
import type { Generation } from "./generation.ts";
import { type HistoryMessage, historyChannel, readHistoryMessage, writeHistoryMessage } from "./history.ts";
import { HistoryAsker } from "./history-asker.ts";
import { HistoryWriter } from "./history-writer.ts";
import { followedOf, readFeedRow, readFollowed } from "./kit-tables.ts";
import {
  type ResolvedFeedOptions,
  type Sources,
  chooseSource,
  createSources,
  openFeedSession,
  readDatabaseOid,
  resolveFeedOptions,
} from "./sources.ts";
import { numberOfLsn, parseLsn } from "./number.ts";
import type { FeedOptions } from "./options.ts";
import { type Joining, Receiver } from "./receiver.ts";
import type { Session } from "./session.ts";
import { checkFeed, installFeed } from "./setup.ts";
import type { Followed, Source } from "./source.ts";

/** How often a process that is not elected asks for the lock; with jitter, so that not all ask at once. */
const electionEveryMs = 250;

/**
 * The server ends a session of ours that says nothing for this long, so that a frozen process loses its lock and another takes over.
 * A healthy one speaks at every election tick.
 */
const idleSessionTimeoutMs = 5_000;

/** Pauses between attempts at a server or a source that fails: doubled each time, with jitter. */
const firstPauseMs = 50;
const lastPauseMs = 2_000;

/** Marks kept for the delay that messages of batches tell: more than any bound has under way. */
const maxMarks = 1_000;

/** How often a change of the schema that is committed, but not visible yet, is asked for again. */
const visibleEveryMs = 20;

/**
 * Creates the feed of this process and begins to connect; `listener` hears of everything. It keeps trying while the server is away.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createFeed(given: FeedOptions, listener: FeedListener): Feed {
  const feed = new PostgresFeed(resolveFeedOptions(given), listener);
  feed.start();
  return feed;
}

class PostgresFeed implements Feed {
  readonly #options: ResolvedFeedOptions;
  readonly #listener: FeedListener;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #receiver: Receiver;
  readonly #following: Following;
  readonly #asker: HistoryAsker;
  readonly #lifecycle;
  /** The marks of this process that no batch has passed yet, in order. */
  readonly #marks: { readonly number: number; readonly sentAtMs: number }[] = [];
  /** The bus, as millrace.feed names it. */
  #channel = "";
  #writer: HistoryWriter | undefined;
  #session: Session | undefined;
  #sources: Sources | undefined;
  #running: Source | undefined;
  #state: FeedState = { state: "starting", source: undefined, elected: false, problem: undefined };

  constructor(options: ResolvedFeedOptions, listener: FeedListener) {
    this.#options = options;
    this.#listener = listener;
    this.#clock = options.clock;
    this.#lifecycle = createLifecycle(`The feed "${options.name}"`, this.#clock);
    this.#following = new Following({
      clock: this.#clock,
      connect: (purpose) => openFeedSession(options, purpose),
      source: (kind) => this.#sources!(kind),
    });
    this.#asker = new HistoryAsker({
      feed: options.name,
      wanted: options.history,
      clock: this.#clock,
      onHistory: (history) => listener.onHistory(history),
      connect: (purpose) => openFeedSession(options, purpose),
      ask: (message) =>
        this.#listening().query("select pg_notify($1, $2)", [historyChannel(this.#channel), writeHistoryMessage(message)]),
      isElected: () => this.#state.elected,
    });
    this.#receiver = new Receiver({
      feed: options.name,
      listener: {
        ...bound(listener),
        onRestart: (start) => {
          listener.onRestart(start);
          this.#marks.length = 0; // a log that was lost brings none of them
          this.#following.reset();
          this.#asker.began(start);
        },
        onCommits: (commits, upTo) => {
          listener.onCommits(commits, upTo);
          if (commits.some((commit) => commit.everything)) this.#following.reset();
        },
      },
      join: () => this.#join(),
      delayOf: (upTo) => this.#delayOf(upTo),
      refollow: (xid) => this.#refollow(xid),
      onProblem: (error) => this.#setState({ state: "retrying", problem: messageOf(error) }),
    });
  }

  get state(): FeedState {
    return this.#state;
  }

  start(): void {
    const running = this.#run();
    this.#lifecycle.add("sessions", async () => {
      this.#stop.abort();
      await this.#following.close();
      await this.#asker.close();
      await running; // it still listens: the history that it leaves behind has everything that it published
      this.#receiver.close();
      this.#setState({ state: "closed", elected: false, problem: undefined });
    });
  }

  async mark(): Promise<number> {
    const session = this.#listening();
    const flushed = session.serverVersion >= 170_000;
    const sentAtMs = this.#clock.monotonic();
    const [row] = await session.query<{ before: string; behind: string }>(
      `with here as materialized (select pg_current_wal_insert_lsn() as at)
       select at::text as before, pg_logical_emit_message(${flushed ? "false" : "true"}, 'millrace', ''${flushed ? ", true" : ""})::text as behind
         from here`,
    );
    this.#running?.nudge();
    // Decoding passes the log's end of before only with everything acknowledged until then. The log table's relay may have passed it
    // without seeing a commit that was in the log and waited for the disk; it passes a record written now only after having looked again.
    const number = numberOfLsn(parseLsn(this.#state.source === "triggers" ? row!.behind : row!.before));
    if (feedBatchChannel.hasSubscribers) this.#marks.push({ number, sentAtMs });
    if (this.#marks.length > maxMarks) this.#marks.shift();
    return number;
  }

  follow(table: TableName, columns: readonly string[]): void {
    this.#following.want(table, columns);
  }

  refusalOf(table: TableName): string | undefined {
    return this.#following.refusalOf(table);
  }

  async invalidate(dependencies: Uint32Array): Promise<number> {
    const session = this.#listening();
    const row = await readFeedRow(session);
    await this.#sources!(row!.source).invalidate(session, dependencies);
    // A mark behind it: its number is passed when the invalidation has been applied.
    return await this.mark();
  }

  close(): Promise<void> {
    return this.#lifecycle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #listening(): Session {
    this.#lifecycle.assertOpen();
    if (this.#session !== undefined && !this.#session.lost.aborted) return this.#session;
    const reason = this.#state.problem ?? "it is not connected yet";
    throw freshnessErrors.create("MILLRACE_FEED_UNREACHABLE", { purpose: "listening", reason });
  }

  #setState(change: Partial<FeedState>): void {
    const state = { ...this.#state, ...change };
    const { state: now, source, elected, problem } = this.#state;
    if (now === "closed") return;
    if (state.state === now && state.source === source && state.elected === elected && state.problem === problem) return;
    this.#state = state;
    this.#listener.onState(state);
    if (feedStateChannel.hasSubscribers) feedStateChannel.publish({ feed: this.#options.name, ...state });
  }

  /** Connects, again and again, until the feed is closed. */
  async #run(): Promise<void> {
    for (let failures = 0; !this.#stop.signal.aborted;) {
      const beganMs = this.#clock.monotonic();
      try {
        await this.#connected();
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#setState({ state: "retrying", elected: false, problem: messageOf(error) });
      }
      failures = this.#clock.monotonic() - beganMs > 10 * lastPauseMs ? 0 : failures + 1;
      await this.#pause(Math.min(lastPauseMs, firstPauseMs * 2 ** failures));
    }
  }

  /** One session's life. */
  async #connected(): Promise<void> {
    const session = await openFeedSession(this.#options, "listening", { idle_session_timeout: String(idleSessionTimeoutMs) });
    try {
      const sources = (this.#sources ??= createSources(this.#options, await readDatabaseOid(session)));
      const kind = await chooseSource(this.#options.source, sources, session);
      if (this.#options.setup) await installFeed(session, sources(kind));
      else await checkFeed(session, sources(kind));
      const row = await readFeedRow(session);
      session.onNotification((channel, payload) => {
        if (channel === row!.channel) this.#receiver.receive(payload);
        else if (channel === historyChannel(row!.channel)) this.#heardOfHistory(readHistoryMessage(payload));
      });
      this.#channel = row!.channel;
      await session.query(`listen ${row!.channel}`);
      await this.#options.onSession(session);
      await session.query(`listen ${historyChannel(row!.channel)}`);
      this.#session = session;
      this.#setState({ source: kind });
      await this.mark(); // so that a batch comes soon, and this process joins with it
      await this.#standForElection(session, sources(kind));
    } finally {
      this.#session = undefined;
      this.#receiver.disconnected();
      await session.close();
    }
  }

  /** Asks for the lock until it is given, then runs the source. Returns when the feed is closed, rejects when the session is lost. */
  async #standForElection(session: Session, source: Source): Promise<void> {
    const { signal } = this.#stop;
    let running: Promise<void> | undefined;
    const lost = new AbortController();
    const onLost = (): void => lost.abort();
    session.lost.addEventListener("abort", onLost, { once: true });
    signal.addEventListener("abort", onLost, { once: true });
    try {
      while (!signal.aborted) {
        if (running === undefined) {
          const [row] = await session.query<{ elected: boolean }>("select pg_try_advisory_lock($1::int, $2::int) as elected", [
            advisoryLockClass,
            advisoryLocks.feed,
          ]);
          if (row!.elected) running = this.#keepElected(source, lost.signal);
          this.#setState({ elected: row!.elected, ...(row!.elected ? {} : { state: "running", problem: undefined }) });
        } else {
          await session.query("select 1"); // says that this process is alive, and notices that the server is not
        }
        await this.#pause(electionEveryMs * (0.8 + 0.4 * Math.random()), session.lost);
      }
    } finally {
      lost.abort();
      signal.removeEventListener("abort", onLost);
      session.lost.removeEventListener("abort", onLost);
      await running;
      this.#running = undefined;
    }
  }

  /** Runs the source, again and again, while this process is elected. */
  async #keepElected(source: Source, signal: AbortSignal): Promise<void> {
    const parts = {
      feed: this.#options.name,
      clock: this.#clock,
      source,
      sourceOf: this.#sources!,
      connect: (purpose: string) => openFeedSession(this.#options, purpose),
      historyFor: (generation: Generation) => (this.#writer = this.#historyFor(generation)),
      leavesHistory: () => this.#options.history && this.#stop.signal.aborted && this.#session?.lost.aborted === false,
    };
    for (let failures = 0; !signal.aborted;) {
      const beganMs = this.#clock.monotonic();
      try {
        await runElected(parts, signal, () => {
          this.#running = source;
          this.#setState({ state: "running", source: source.kind, problem: undefined });
        });
      } catch (error) {
        if (!signal.aborted) this.#setState({ state: "retrying", problem: messageOf(error) });
      }
      this.#running = undefined;
      failures = this.#clock.monotonic() - beganMs > 10 * lastPauseMs ? 0 : failures + 1;
      await this.#pause(Math.min(lastPauseMs, firstPauseMs * 2 ** failures), signal);
    }
  }

  #historyFor({ number: generation, channel }: Generation): HistoryWriter | undefined {
    const listener = this.#listener;
    if (listener.history === undefined) return undefined;
    return new HistoryWriter({
      clock: this.#clock,
      channel,
      generation,
      connect: (purpose) => openFeedSession(this.#options, purpose),
      history: () => listener.history!(),
      applied: () => this.#receiver.applied,
      settled: () => this.#asker.settled(),
    });
  }

  #heardOfHistory(message: HistoryMessage | undefined): void {
    if (message === undefined) return;
    if (message.kind === "written") this.#asker.heard(message);
    else this.#writer?.wanted(message.generation, message.number);
  }

  /** Marks come back in the order in which they were sent, except that a few sent together may not. */
  #delayOf(upTo: number): number | undefined {
    let oldestMs: number | undefined;
    while (this.#marks.length > 0 && this.#marks[0]!.number <= upTo) {
      const { sentAtMs } = this.#marks.shift()!;
      oldestMs = Math.min(oldestMs ?? sentAtMs, sentAtMs);
    }
    return oldestMs === undefined ? undefined : this.#clock.monotonic() - oldestMs;
  }

  /** What a process needs to know when it joins: see Joining. */
  async #join(): Promise<Joining> {
    const session = this.#listening();
    const feed = await readFeedRow(session);
    this.#setState({ source: feed!.source }); // another process may have been elected with another source: see mark()
    const [row] = await session.query<{ horizon: string }>("select pg_current_xact_id()::text as horizon");
    return { horizon: BigInt(row!.horizon), followed: await this.#readFollowed(session) };
  }

  async #refollow(xid: bigint | undefined): Promise<readonly Followed[]> {
    const session = this.#listening();
    // A commit that waits for a standby is in the log before anybody sees it.
    while (xid !== undefined) {
      const [row] = await session.query<{ visible: boolean }>(
        "select pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot()) as visible",
        [String(xid)],
      );
      if (row!.visible) break;
      await this.#pause(visibleEveryMs, session.lost);
    }
    return await this.#readFollowed(session);
  }

  /** Rows first, position after: the commits that inserted them lie before it. */
  async #readFollowed(session: Session): Promise<Followed[]> {
    const rows = await readFollowed(session);
    const [row] = await session.query<{ at: string }>("select pg_current_wal_insert_lsn()::text as at");
    const number = numberOfLsn(parseLsn(row!.at));
    return rows.map((each) => followedOf(each, number));
  }

  /** Waits; less when the feed is closed or `signal` aborts. */
  async #pause(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const signals = [this.#stop.signal, ...(signal ? [signal] : [])];
    if (signals.some((each) => each.aborted)) return;
    const onAbort = (): void => resolve();
    for (const each of signals) each.addEventListener("abort", onAbort, { once: true });
    using _timer = this.#clock.timer(ms, resolve);
    await promise;
    for (const each of signals) each.removeEventListener("abort", onAbort);
  }
}

/** The listener's methods, whatever `this` they want. */
const bound = (listener: FeedListener): FeedListener => ({
  onCommits: (commits, upTo) => listener.onCommits(commits, upTo),
  onRestart: (start) => listener.onRestart(start),
  onHistory: (history) => listener.onHistory(history),
  onFollowed: (followed) => listener.onFollowed(followed),
  onState: (state) => listener.onState(state),
});

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
