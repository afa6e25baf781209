// Which write last touched a dependency, in a fixed amount of memory: a hashed sketch that may say "later" but never "earlier" than
// the truth, so that a cached answer is thrown away too often and never served too long. docs/memory-tier.md explains it.

import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import { resolveOptions } from "../core/index.ts";
import { type VersionsOptions, versionsChecks, versionsDefaults } from "./options.ts";

/** What a slot can count to. */
const slotLimit = 2 ** 32 - 1;

/**
 * How far the numbers in the slots are moved down when the next would not fit: half, so that it happens every 2^31 writes at most.
 */
const renumberBy = 2 ** 31;

/**
 * Places that say when one of the dependencies that share them was last touched. 128 KiB stay in a core's cache, where the slots do not:
 * a hit that must ask eight of those waits for memory eight times.
 */
const recentPlaces = 2 ** 14;

const placeOf = (low: number): number => low & (recentPlaces - 1);

/** Halves of hashes whose places stand in the answer's own object. */
const nearHalves = 16;

/**
 * What is kept beside an answer so that the next look at it is cheap: mayServe() notes how far it has looked, and goes on from there. Of one
 * answer and one sketch; `dependencies` are those that mayServe() is asked about.
 *
 * The places of the first eight dependencies stand in the object: while commits come in, following three pointers to the hashes took more than
 * half of a hit's time (bench/findings.md, memory-hit).
 */
export class Judged {
  /** 0: not yet. */
  judgedAt = 0;
  /** -1: there are more than eight. With fewer, the first stands for those that are not there. */
  readonly place0: number;
  readonly place1: number;
  readonly place2: number;
  readonly place3: number;
  readonly place4: number;
  readonly place5: number;
  readonly place6: number;
  readonly place7: number;

  constructor(dependencies: Uint32Array) {
    const { length } = dependencies;
    const first = length > 0 ? placeOf(dependencies[0]!) : 0;
    const place = (half: number) => (half < length ? placeOf(dependencies[half]!) : first);
    this.place0 = length > nearHalves ? -1 : first;
    this.place1 = place(2);
    this.place2 = place(4);
    this.place3 = place(6);
    this.place4 = place(8);
    this.place5 = place(10);
    this.place6 = place(12);
    this.place7 = place(14);
  }

  /** Whether none of the dependencies has been touched since, as far as the places here tell. False: ask each. */
  isQuiet(recent: Float64Array): boolean {
    const since = this.judgedAt;
    return (
      this.place0 >= 0 &&
      recent[this.place0]! <= since &&
      recent[this.place1]! <= since &&
      recent[this.place2]! <= since &&
      recent[this.place3]! <= since &&
      recent[this.place4]! <= since &&
      recent[this.place5]! <= since &&
      recent[this.place6]! <= since &&
      recent[this.place7]! <= since
    );
  }
}

/**
 * The last write to every dependency, by number. Numbers are those of the feed, in commit order: whole, above 0, growing, below
 * 2^53. Dependencies are known by the halves of their hash (`hashDependency`). Nothing here takes longer than a microsecond, except
 * for starting a generation, bumpAll() and, once in 2^31 writes, renumbering (each a pass over the slots: a few milliseconds).
 */
export interface Versions {
  /** Numbers are comparable within a generation only; an entry of another one is never served. */
  readonly generation: number;
  /** The largest number seen in this generation, or 0. */
  readonly newest: number;
  /** The number of a write to this dependency. Numbers may come in any order; the largest counts. */
  bump(low: number, high: number, sequence: number): void;
  /** The number of a write that may have touched anything: a gap in the feed, a change of schema. */
  bumpAll(sequence: number): void;
  /** The number of the last write to this dependency, or a larger one. */
  version(low: number, high: number): number;
  /**
   * Whether an answer of `generation` that reflects every write up to `upTo` may be served: no dependency was written after it.
   * `dependencies` are as hashDependencies() made them; without any, only the generation and bumpAll() can refuse.
   */
  mayServe(generation: number, upTo: number, dependencies: Uint32Array, judged?: Judged): boolean;
  /** Whether a `judged` that mayServe() has allowed is certainly still fit, by what stands in it alone. False: ask mayServe(). */
  isUntouched(judged: Judged): boolean;
  /**
   * The sketch as bytes, for a process that begins later: complete up to `upTo`. Compressed on another thread.
   */
  dump(upTo: number): Promise<Uint8Array>;
  /**
   * Takes over what another process knew, so that answers from before this one began can be judged. Says whether it could: the dump
   * must be of a sketch of the same size, whole, and complete up to where this one begins (the number of the last bumpAll()). Both must be
   * of one generation, which is the caller's to know.
   */
  merge(dump: Uint8Array): Promise<boolean>;
  /**
   * Forgets everything: the numbers of before mean nothing any more. An answer of the generation of before is refused from now on.
   */
  startGeneration(generation: number): void;
}

/**
 * Creates an empty sketch of `generation`.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createVersions(generation: number, given: VersionsOptions = {}): Versions {
  const { slots, rows } = resolveOptions("createVersions", given, versionsDefaults, versionsChecks);
  return new VersionSketch(generation, slots, rows);
}

const compress = promisify(zstdCompress);
const decompress = promisify<Uint8Array, object, Buffer>(zstdDecompress);

/** Before the slots of a dump, little-endian: format (u32), rows (u32), slots per row (u32), 0 (u32), base (f64), complete up to (f64). */
const dumpHeadBytes = 32;
const dumpFormat = 0x4d56_0001;

/**
 * A Count-Min sketch (Cormode and Muthukrishnan, 2005) with max for addition. Row `i` has a dependency at `low + i × high`
 * (Kirsch and Mitzenmacher, 2006: as good as independent hashes). Each of its slots holds the largest number of all that share the
 * slot, so the smallest of them is at least the dependency's own.
 */
class VersionSketch implements Versions {
  generation: number;
  newest = 0;
  readonly #slots: Uint32Array;
  readonly #perRow: number;
  readonly #mask: number;
  /** Slots count from here; 0 in a slot means "not later than this". */
  #base = 0;
  /** Counts whatever may make an answer unfit, in the order in which it happens here. Doubles: it never overflows. */
  #ticks = 1;
  /** The tick of the last thing that is not a bump of one dependency. */
  #changedAt = 1;
  /** The tick of the last bump of a dependency that has this place. */
  readonly #recent = new Float64Array(recentPlaces);

  constructor(generation: number, perRow: number, rows: number) {
    this.generation = generation;
    this.#slots = new Uint32Array(perRow * rows);
    this.#perRow = perRow;
    this.#mask = perRow - 1;
  }

  bump(low: number, high: number, sequence: number): void {
    if (sequence > this.newest) this.newest = sequence;
    this.#recent[placeOf(low)] = ++this.#ticks;
    if (sequence - this.#base > slotLimit) this.#renumber(sequence);
    const slots = this.#slots;
    const number = sequence - this.#base;
    let place = low;
    for (let row = 0; row < slots.length; row += this.#perRow) {
      const slot = row + (place & this.#mask);
      if (slots[slot]! < number) slots[slot] = number;
      place = (place + high) | 0;
    }
  }

  bumpAll(sequence: number): void {
    if (sequence > this.newest) this.newest = sequence;
    if (sequence > this.#base) this.#moveBase(sequence);
  }

  version(low: number, high: number): number {
    const slots = this.#slots;
    let least = slotLimit;
    let place = low;
    for (let row = 0; row < slots.length; row += this.#perRow) {
      least = Math.min(least, slots[row + (place & this.#mask)]!);
      place = (place + high) | 0;
    }
    return this.#base + least;
  }

  isUntouched(judged: Judged): boolean {
    const ticks = this.#ticks;
    if (judged.judgedAt === ticks) return true;
    if (judged.judgedAt < this.#changedAt || !judged.isQuiet(this.#recent)) return false;
    judged.judgedAt = ticks;
    return true;
  }

  mayServe(generation: number, upTo: number, dependencies: Uint32Array, judged?: Judged): boolean {
    // What was fit then is fit now, unless it has been touched since.
    const since = judged === undefined ? 0 : judged.judgedAt;
    const isServed =
      since < this.#changedAt
        ? this.#mayServe(generation, upTo, dependencies)
        : since === this.#ticks || this.#mayStillServe(since, upTo, dependencies);
    if (isServed && judged !== undefined && since !== this.#ticks) judged.judgedAt = this.#ticks;
    return isServed;
  }

  #mayServe(generation: number, upTo: number, dependencies: Uint32Array): boolean {
    if (generation !== this.generation || !(upTo >= this.#base)) return false;
    if (this.newest <= upTo) return true; // nothing at all was written since, so no slot can be later
    const limit = upTo - this.#base;
    for (let i = 0; i < dependencies.length; i += 2) {
      if (this.#isLater(limit, dependencies[i]!, dependencies[i + 1]!)) return false;
    }
    return true;
  }

  #mayStillServe(since: number, upTo: number, dependencies: Uint32Array): boolean {
    const recent = this.#recent;
    const limit = upTo - this.#base;
    for (let i = 0; i < dependencies.length; i += 2) {
      const low = dependencies[i]!;
      if (recent[placeOf(low)]! > since && this.#isLater(limit, low, dependencies[i + 1]!)) return false;
    }
    return true;
  }

  /** One row that has nothing later is proof; the others are only asked after a collision or a write. */
  #isLater(limit: number, low: number, high: number): boolean {
    const slots = this.#slots;
    const mask = this.#mask;
    let place = low;
    for (let row = 0; row < slots.length; row += this.#perRow) {
      if (slots[row + (place & mask)]! <= limit) return false;
      place = (place + high) | 0;
    }
    return true;
  }

  startGeneration(generation: number): void {
    this.generation = generation;
    this.newest = 0;
    this.#base = 0;
    this.#slots.fill(0);
    this.#changedAt = ++this.#ticks;
  }

  async dump(upTo: number): Promise<Uint8Array> {
    const head = Buffer.alloc(dumpHeadBytes);
    for (const [i, value] of [dumpFormat, this.#slots.length / this.#perRow, this.#perRow].entries())
      head.writeUInt32LE(value, i * 4);
    head.writeDoubleLE(this.#base, 16);
    head.writeDoubleLE(upTo, 24);
    // A copy, because bumps go on meanwhile: bytes of two moments would still be right, but not complete up to one number.
    const body = Buffer.from(Uint32Array.from(this.#slots).buffer);
    return Buffer.concat([head, await compress(body)]);
  }

  async merge(dump: Uint8Array): Promise<boolean> {
    if (dump.length < dumpHeadBytes) return false;
    const head = Buffer.from(dump.buffer, dump.byteOffset, dumpHeadBytes);
    const [format, rows, perRow] = [0, 4, 8].map((at) => head.readUInt32LE(at));
    if (format !== dumpFormat || perRow !== this.#perRow || rows! * perRow !== this.#slots.length) return false;
    const { generation } = this;
    const bytes = await decompress(dump.subarray(dumpHeadBytes), { maxOutputLength: this.#slots.byteLength }).catch(
      () => undefined,
    );
    if (bytes?.length !== this.#slots.byteLength || generation !== this.generation) return false;
    return this.#take(new Uint32Array(new Uint8Array(bytes).buffer), head.readDoubleLE(16), head.readDoubleLE(24));
  }

  /** The later of both in every slot, counted from the earlier base. */
  #take(others: Uint32Array, othersBase: number, upTo: number): boolean {
    const ownBase = this.#base;
    if (!(upTo >= ownBase && othersBase >= 0)) return false; // nobody knows what was written in between
    if (othersBase >= ownBase) return true; // it knows nothing that is not known here
    const newest = Math.max(this.newest, upTo);
    if (newest - othersBase > slotLimit) return false;
    const slots = this.#slots;
    for (let slot = 0; slot < slots.length; slot++) {
      const counted = slots[slot]!;
      const own = counted === 0 ? 0 : counted + (ownBase - othersBase);
      slots[slot] = Math.max(own, others[slot]!);
    }
    this.#base = othersBase;
    this.newest = newest;
    this.#changedAt = ++this.#ticks;
    return true;
  }

  /**
   * Makes `sequence` fit, keeping the latest 2^31 numbers exact where that is possible; earlier ones become "not later than the
   * base".
   */
  #renumber(sequence: number): void {
    this.#moveBase(Math.max(this.#base + renumberBy, sequence - slotLimit));
  }

  #moveBase(base: number): void {
    const by = base - this.#base;
    const slots = this.#slots;
    for (let slot = 0; slot < slots.length; slot++) slots[slot] = Math.max(0, slots[slot]! - by);
    this.#base = base;
    this.#changedAt = ++this.#ticks;
  }
}
