// What the database truly held, and whether an answer was as new as promised. Rows have versions that grow by one with every write, and the
// history table has every version that was ever committed; times are of CLOCK_MONOTONIC, which all processes of a machine share.

/** A committed version of a row, from the history table. */
export interface Version {
  readonly id: number;
  readonly version: number;
  readonly group: number;
}

/** A write whose caller heard that it is committed. */
export interface Acknowledged {
  readonly id: number;
  readonly version: number;
  readonly process: number;
  /** When the caller heard of it, ms. */
  readonly atMs: number;
}

/** A row of an answer. */
export type AnswerRow = readonly [id: number, version: number];

export interface Answer {
  readonly process: number;
  /** When it was asked for, ms. */
  readonly askedAtMs: number;
  /** The one row with this id, or all rows of this group. */
  readonly of: { readonly id: number } | { readonly group: number };
  readonly rows: readonly AnswerRow[];
  /** From the cache, or made for this request. */
  readonly fromCache: boolean;
  /** The write that its token named. */
  readonly token?: AnswerRow | undefined;
}

/** Why an answer breaks the promise, in one sentence. */
export interface Violation {
  readonly answer: Answer;
  readonly why: string;
}

export interface HistoryOptions {
  /** The staleness bound. */
  readonly boundMs: number;
  /**
   * Whether answers that were made for the request must keep the promise too. On a standby they are as old as the standby is, and nobody
   * promised otherwise.
   */
  readonly checksMade: boolean;
}

/** The acknowledged writes of one row by one process, or by all: times and versions, both growing. */
class Timeline {
  readonly #times: number[] = [];
  readonly #versions: number[] = [];

  add(atMs: number, version: number): void {
    if (version <= (this.#versions.at(-1) ?? 0)) return; // a later version was heard of earlier: it says more
    this.#times.push(atMs);
    this.#versions.push(version);
  }

  /** The newest version that was acknowledged before `atMs`. */
  before(atMs: number): number {
    let low = 0;
    let high = this.#times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#times[middle]! < atMs) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : this.#versions[low - 1]!;
  }
}

export class History {
  readonly #options: HistoryOptions;
  /** Groups by id and version; a row's first version is 1. */
  readonly #groups = new Map<number, number[]>();
  readonly #byAll = new Map<number, Timeline>();
  readonly #byProcess = new Map<string, Timeline>();

  constructor(versions: readonly Version[], acknowledged: readonly Acknowledged[], options: HistoryOptions) {
    this.#options = options;
    for (const { id, version, group } of versions) {
      let groups = this.#groups.get(id);
      if (!groups) this.#groups.set(id, (groups = []));
      groups[version] = group;
    }
    for (const { id, version, process, atMs } of acknowledged.toSorted((a, b) => a.atMs - b.atMs)) {
      if (this.#groups.get(id)?.[version] === undefined) {
        throw new Error(
          `Version ${version} of row ${id} was acknowledged, and the history does not have it: the run proves nothing.`,
        );
      }
      timeline(this.#byAll, id).add(atMs, version);
      timeline(this.#byProcess, `${process}:${id}`).add(atMs, version);
    }
  }

  /** The oldest version of a row that an answer may show. */
  #leastVersion(answer: Answer, id: number): readonly [version: number, because: string] {
    const bounded = this.#byAll.get(id)?.before(answer.askedAtMs - this.#options.boundMs) ?? 0;
    const own = this.#byProcess.get(`${answer.process}:${id}`)?.before(answer.askedAtMs) ?? 0;
    const named = answer.token?.[0] === id ? answer.token[1] : 0;
    if (named >= own && named >= bounded && named > 0) return [named, "its token named that"];
    if (own >= bounded && own > 0) return [own, "its process had written that before"];
    return [Math.max(bounded, 1), "that was acknowledged longer ago than the bound"];
  }

  /** Undefined: the answer is as new as promised. */
  check(answer: Answer): Violation | undefined {
    const broken = (why: string): Violation => ({ answer, why });
    const shown = new Map(answer.rows);
    for (const [id, version] of answer.rows) {
      const group = this.#groups.get(id)?.[version];
      if (group === undefined) return broken(`version ${version} of row ${id} was never committed`);
      if ("group" in answer.of && group !== answer.of.group) return broken(`version ${version} of row ${id} is in group ${group}`);
      if ("id" in answer.of && id !== answer.of.id) return broken(`it shows row ${id}`);
    }
    if (!answer.fromCache && !this.#options.checksMade) return undefined;
    const concerned = "id" in answer.of ? [answer.of.id] : this.#groups.keys();
    for (const id of concerned) {
      const [least, because] = this.#leastVersion(answer, id);
      const version = shown.get(id);
      if (version !== undefined) {
        if (version < least) return broken(`it shows version ${version} of row ${id} where ${least} was due: ${because}`);
        continue;
      }
      const { of } = answer;
      if ("id" in of) return broken(`row ${id} is missing`);
      // Rightly absent only if the row was in another group at some moment since the oldest version that it may show.
      const groups = this.#groups.get(id)!;
      if (groups.slice(least).every((group) => group === of.group)) {
        return broken(`row ${id} is missing, which is in the group since before version ${least}: ${because}`);
      }
    }
    return undefined;
  }
}

function timeline<Key>(map: Map<Key, Timeline>, key: Key): Timeline {
  let found = map.get(key);
  if (!found) map.set(key, (found = new Timeline()));
  return found;
}
