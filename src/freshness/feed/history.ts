// What processes say to each other about history, the versions of the time before a process listened, and where it is kept: one row in
// millrace.history. Whatever is written there is true on its own: "complete from where its writer began, up to this number, in this
// generation"; who takes it over checks both. So it does not matter who writes, or that a writer has been replaced meanwhile.

import type { Session } from "./session.ts";

/**
 * - wanted: a process that began at `number` asks the elected one for what was written before.
 * - written: millrace.history is complete up to `number` now.
 */
export interface HistoryMessage {
  readonly kind: "wanted" | "written";
  readonly generation: number;
  readonly number: number;
}

/** Beside the feed's own channel, whose name is a secret of the database's. */
export const historyChannel = (channel: string): string => `${channel}_history`;

export const writeHistoryMessage = ({ kind, generation, number }: HistoryMessage): string => `${kind} ${generation} ${number}`;

/** Undefined for anything else. */
export function readHistoryMessage(payload: string): HistoryMessage | undefined {
  const match = /^(wanted|written) (\d{1,10}) (\d{1,16})$/.exec(payload);
  return match ? { kind: match[1] as HistoryMessage["kind"], generation: Number(match[2]), number: Number(match[3]) } : undefined;
}

/** The dump of `generation` when it is complete up to `floor` at least. */
export async function readHistory(
  session: Session,
  generation: number,
  floor: number,
): Promise<{ readonly upTo: number; readonly dump: Buffer } | undefined> {
  const [row] = await session.query<{ upto: string; dump: Buffer }>(
    "select upto::text, dump from millrace.history where generation = $1 and upto >= $2",
    [generation, floor],
  );
  return row && { upTo: Number(row.upto), dump: row.dump };
}

/** Keeps a dump, unless a later one is kept already, and tells everybody who waits. */
export async function keepHistory(
  session: Session,
  channel: string,
  history: { readonly generation: number; readonly upTo: number; readonly dump: Uint8Array },
): Promise<void> {
  const { generation, upTo, dump } = history;
  await session.transaction(async (tx) => {
    await tx.query(
      `insert into millrace.history (generation, upto, dump) values ($1, $2, $3)
       on conflict (generation) do update set upto = excluded.upto, dump = excluded.dump where excluded.upto >= history.upto`,
      [generation, upTo, Buffer.from(dump.buffer, dump.byteOffset, dump.byteLength)],
    );
    await tx.query("select pg_notify($1, $2)", [
      historyChannel(channel),
      writeHistoryMessage({ kind: "written", generation, number: upTo }),
    ]);
  });
}
