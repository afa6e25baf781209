// The elected process's part: it runs the source and speaks on the bus. Others take over when its advisory lock is gone.

import type { Clock } from "../../core/index.ts";
import { type FeedElectedMessage, feedElectedChannel } from "../channels.ts";
import { type Generation, enterGeneration } from "./generation.ts";
import type { HistoryWriter } from "./history-writer.ts";
import { forgetDropped, readFeedRow } from "./kit-tables.ts";
import type { Session } from "./session.ts";
import type { Batch, Source } from "./source.ts";
import type { Sources } from "./sources.ts";
import { encodeBatch } from "./wire.ts";

export interface ElectedParts {
  readonly feed: string;
  readonly clock: Clock;
  readonly source: Source;
  /** The other one too: what it has left on the server is removed. */
  readonly sourceOf: Sources;
  connect(purpose: string): Promise<Session>;
  /** Begins to answer those who ask for history, in this generation. */
  historyFor(generation: Generation): HistoryWriter | undefined;
  /** Whether this process leaves its history behind now that it ends in order. */
  leavesHistory(): boolean;
}

/** Payloads sent in one statement: 800 kB of text. A batch of more is sent in several, and counts only with its last part. */
const maxPayloadsPerStatement = 100;

/** Runs the source until `signal` aborts, then resolves. Rejects with what went wrong. */
export async function runElected(parts: ElectedParts, signal: AbortSignal, onRunning: () => void): Promise<void> {
  const { feed, source } = parts;
  const bus = await parts.connect("bus");
  const stop = new AbortController();
  const onAbort = (): void => stop.abort();
  signal.addEventListener("abort", onAbort, { once: true });
  bus.lost.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) stop.abort();
  try {
    const continuity = await source.prepare(bus, stop.signal);
    if (stop.signal.aborted) return;
    // The other source's slot would keep log for ever, and its triggers would cost every write.
    const before = await readFeedRow(bus);
    if (before !== undefined && before.generation > 0 && before.source !== source.kind)
      await parts.sourceOf(before.source).teardown(bus);
    await forgetDropped(bus);
    const generation = await enterGeneration(bus, source.kind, continuity);
    if (feedElectedChannel.hasSubscribers) {
      const message = { feed, source: source.kind, generation: generation.number, reason: generation.reason };
      feedElectedChannel.publish(message satisfies FeedElectedMessage);
    }
    onRunning();
    await using history = parts.historyFor(generation);
    let sequence = 0;
    let published = 0;
    const publish = async (batch: Batch): Promise<void> => {
      const payloads = encodeBatch(batch, generation.number, sequence++);
      for (let from = 0; from < payloads.length; from += maxPayloadsPerStatement) {
        await bus.query("select pg_notify($1, payload) from unnest($2::text[]) as payload", [
          generation.channel,
          payloads.slice(from, from + maxPayloadsPerStatement),
        ]);
      }
      published = batch.upTo;
      if (batch.commits.some(({ everything }) => everything)) await forgetDropped(bus);
    };
    await source.run(publish, stop.signal);
    if (published > 0 && parts.leavesHistory()) await history?.finish(published).catch(() => {}); // the next one asks, or fills
    if (!signal.aborted && bus.lost.aborted) throw bus.lost.reason;
  } finally {
    signal.removeEventListener("abort", onAbort);
    bus.lost.removeEventListener("abort", onAbort);
    await bus.close();
  }
}
