// How often each city's forecast is asked for: counted in memory, written now and then. A process that dies loses some seconds of it.

import { type Database, type Timer, sql, systemClock } from "millrace";

/** What a write costs is the same for one city and for a thousand. */
const flushMs = 10_000;

export interface ReadCounts extends AsyncDisposable {
  count(cityId: number): void;
  /** Writes what was counted since the last time. */
  flush(): Promise<void>;
}

export function countReads(database: Database): ReadCounts {
  let counts = new Map<number, number>();
  let timer: Timer | undefined;
  const flush = async (): Promise<void> => {
    timer?.clear();
    timer = undefined;
    if (counts.size === 0) return;
    const written = counts;
    counts = new Map();
    await database.query(sql`
      insert into city_reads as r (day, city_id, reads)
      select current_date, u.city_id, u.reads from unnest(${[...written.keys()]}::int[], ${[...written.values()]}::bigint[]) u (city_id, reads)
      order by u.city_id
      on conflict (day, city_id) do update set reads = r.reads + excluded.reads`);
  };
  return {
    count(cityId) {
      counts.set(cityId, (counts.get(cityId) ?? 0) + 1);
      // A failure loses ten seconds of counts, which nobody will miss.
      timer ??= systemClock.timer(flushMs, () => void flush().catch(() => {}));
    },
    flush,
    [Symbol.asyncDispose]: () => flush().catch(() => {}),
  };
}
