// The relay: reads the log table in the one elected process and publishes what it finds. docs/decisions/log-table.md has the
// argument why no commit is lost and none is passed by a mark before it is published.
//
// | each round                                                         | why in this order                                            |
// | ------------------------------------------------------------------ | ------------------------------------------------------------ |
// | 1. n := position of the log, in a statement of its own             | a mark at or before n was written before step 2              |
// | 2. a snapshot, and the rows visible in it and not in the one before | so what was acknowledged before that mark is among them       |
// | 3. publish them under n, more than all numbers before              | entries filled before may claim all numbers before, not n    |
// | 4. now and then: save the snapshot, delete what every round has seen | a successor publishes again what came after the saved one    |

import type { Clock } from "../../../core/index.ts";
import { CommitBuilder } from "../commit-builder.ts";
import { numberOfLsn, parseLsn } from "../number.ts";
import type { Session } from "../session.ts";
import type { Batch, SourceSetup } from "../source.ts";
import { prune, readSaved, save } from "./continuity.ts";
import { commitsOf, readChanges } from "./reading.ts";
import { Relations } from "./relations.ts";
import type { Snapshot } from "./snapshot.ts";
import { CatalogueWatch } from "../logical/ddl.ts";
import { forgetDropped, hasDdlTriggers, logDdl, watchAgain } from "./watching.ts";

/** Between rounds while there is something to publish, and for a while after. */
const busyMs = 5;
/** Between rounds when there has been nothing for a while: with 20 one commit in a hundred takes longer than 25 ms to reach all processes. */
const idleMs = 12;
const busyForMs = 250;

/**
 * An empty batch is published only for marks, and publishing moves the log itself: so the next empty one waits twice as long, up to
 * this. Commits, and nudge(), begin anew.
 */
const emptyMaxMs = 100;

/** How much a successor publishes again at most, and how long rows live. */
const saveEveryMs = 1_000;

/** How often triggers are counted, and the catalogue is looked at, at least. More often where the staleness bound asks for it. */
const watchMostMs = 1_000;

/** Waits between rounds; nudge() ends a wait. */
export class Pause {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  nudged = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  nudge(): void {
    this.nudged = true;
    this.#wake?.();
  }

  async for(ms: number, signal: AbortSignal): Promise<void> {
    if (this.nudged || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const end = () => resolve();
    signal.addEventListener("abort", end, { once: true });
    using _timer = this.#clock.timer(ms, resolve);
    await promise;
    signal.removeEventListener("abort", end);
    this.#wake = undefined;
  }
}

export interface RelayParts {
  readonly setup: SourceSetup;
  /** For reading alone. */
  readonly session: Session;
  /** For saving, deleting and watching, which take longer. */
  readonly upkeep: Session;
  readonly pause: Pause;
  publish(batch: Batch): Promise<void>;
}

/** Runs until `signal` aborts. Rejects when a session is lost or the log cannot be read. */
export async function relay(parts: RelayParts, signal: AbortSignal): Promise<void> {
  const { setup, session, upkeep, pause } = parts;
  const { clock, canonicalValue } = setup;
  const relations = new Relations();
  const builder = new CommitBuilder(setup.maxDependenciesPerCommit);
  const saved = await readSaved(session);
  if (!saved) throw new Error("The relay was started without a position; prepare() makes one.");

  let seen = saved.snapshot;
  let announced = numberOfLsn(parseLsn(saved.position));
  let position = saved.position;
  let busyUntilMs = 0;
  let emptyWaitMs = busyMs;
  let emptyAtMs = 0;
  const upkeeping = createUpkeep(upkeep, setup, saved.snapshot, relations, signal);
  // A predecessor may have published higher numbers than it saved, up to the log's end of then. Behind this record all are new.
  await advanceLog(session);

  while (!signal.aborted) {
    upkeeping.throwIfFailed();
    const nudged = pause.nudged;
    pause.nudged = false;
    const nowMs = clock.monotonic();
    if (nudged) emptyWaitMs = busyMs;
    const tip = await readTip(session);
    let number = numberOfLsn(parseLsn(tip.position));
    if (tip.snapshot !== seen.text || number > announced) {
      let { changes, snapshot } = await readChanges(session, seen);
      if (changes.length > 0 && number <= announced) {
        // Became visible after its record was written and passed (synchronous replication, or a moment): it needs a number of its own.
        await advanceLog(session);
        tip.position = (await readTip(session)).position;
        number = numberOfLsn(parseLsn(tip.position));
        ({ changes, snapshot } = await readChanges(session, seen));
      }
      const empty = changes.length === 0;
      if (!empty || (number > announced && nowMs >= emptyAtMs)) {
        const { commits, followed: begun } = await commitsOf(changes, number, { session, relations, builder, canonicalValue });
        // The commit that began to follow, and earlier writes of the table, may lie behind `number`. A standby has replayed them once it has
        // replayed what is in the log by now; see "reached" in the ledger's samples.
        const behind = begun.length === 0 ? number : numberOfLsn(parseLsn((await readTip(session)).position)) + 1;
        const followed = begun.map((each) => ({ ...each, number: behind }));
        await parts.publish({ prev: announced, upTo: number, commits, followed });
        announced = number;
        position = tip.position;
        emptyWaitMs = empty ? Math.min(emptyWaitMs * 2, emptyMaxMs, Math.max(busyMs, setup.intervalMs)) : busyMs;
        emptyAtMs = clock.monotonic() + emptyWaitMs;
        if (!empty) busyUntilMs = clock.monotonic() + busyForMs;
      }
      seen = snapshot;
      upkeeping.published({ snapshot, position }, !empty);
    }
    await pause.for(clock.monotonic() < busyUntilMs ? busyMs : idleMs, signal);
  }
  await upkeeping.close();
}

async function readTip(session: Session): Promise<{ position: string; snapshot: string }> {
  const [tip] = await session.query<{ position: string; snapshot: string }>(
    // This snapshot only tells whether anything has changed: it is older than the position, so nothing is read by it.
    "select pg_current_wal_insert_lsn()::text as position, pg_current_snapshot()::text as snapshot",
  );
  return tip!;
}

/** A record of more than 32 bytes, so that numbers behind it are larger than all before it. */
async function advanceLog(session: Session): Promise<void> {
  await session.query("select pg_logical_emit_message(false, 'millrace', 'relay')");
}

interface Upkeep {
  /** Everything visible in `snapshot` is published. */
  published(saved: { readonly snapshot: Snapshot; readonly position: string }, changes: boolean): void;
  throwIfFailed(): void;
  /** Saves what was published last, so that a successor repeats nothing. */
  close(): Promise<void>;
}

/** Saving and deleting, and looking after triggers, beside the rounds. */
function createUpkeep(
  session: Session,
  { clock, intervalMs }: SourceSetup,
  savedBefore: Snapshot,
  relations: Relations,
  signal: AbortSignal,
): Upkeep {
  const watchEveryMs = Math.min(watchMostMs, intervalMs);
  let latest: { readonly snapshot: Snapshot; readonly position: string } | undefined;
  let pruned: Snapshot | undefined;
  let savedAtMs = clock.monotonic();
  let watchedAtMs = clock.monotonic();
  let unsaved = false;
  let running: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;

  const saveAndPrune = async (): Promise<void> => {
    savedAtMs = clock.monotonic();
    if (!latest) return;
    unsaved = false;
    const upTo = latest;
    await save(session, upTo);
    await prune(session, pruned, upTo.snapshot, signal);
    pruned = upTo.snapshot;
  };
  const catalogue = new CatalogueWatch(logDdl);
  const watch = async (): Promise<void> => {
    watchedAtMs = clock.monotonic();
    await watchAgain(session);
    if (!(await hasDdlTriggers(session))) await catalogue.look(session);
    await forgetDropped(session);
    relations.forgetSoon(); // without event triggers nothing else tells of a renamed table
  };
  const start = (work: () => Promise<void>): void => {
    running = work()
      .catch((error: unknown) => {
        failure = { error };
      })
      .finally(() => {
        running = undefined;
      });
  };
  start(async () => {
    await prune(session, undefined, savedBefore, signal);
    pruned = savedBefore;
  });

  return {
    published(saved, changes) {
      latest = saved;
      unsaved ||= changes;
    },
    throwIfFailed() {
      if (failure) throw failure.error;
      if (running) return;
      const nowMs = clock.monotonic();
      if (unsaved && nowMs - savedAtMs >= saveEveryMs) start(saveAndPrune);
      else if (nowMs - watchedAtMs >= watchEveryMs) start(watch);
    },
    async close() {
      await running;
      if (failure) throw failure.error;
      if (latest) await save(session, latest);
    },
  };
}
