// What a value takes in memory, whether it survives being stored as it is, and how it is kept from being changed by one of those
// who share it. docs/cache.md#values explains it.

/** What was found out about a value. */
export interface ValueFacts {
  /** Bytes on the heap, about; infinite when there are more than were asked about. */
  readonly bytes: number;
  /** Why it cannot be kept: it would come back from a store as something else. */
  readonly problem: string | undefined;
}

const slotBytes = 8;
const objectBytes = 32; // header, properties, elements, and what the allocator rounds up
const characterBytes = 2; // Latin-1 takes one; we cannot see which it is, and a bound must hold
const stringBytes = 16;
const bufferBytes = 120; // the view, its ArrayBuffer and the store behind it

const isPlain = (prototype: object | null): boolean => prototype === null || Object.getPrototypeOf(prototype) === null;

/**
 * Measures `value` and freezes its plain objects and arrays, deep down, unless it cannot be kept. Dates, Maps, Sets, RegExps and
 * buffers are kept but cannot be frozen. Stops at `maxBytes`, so that a value of 50 MB costs no more than one that fits.
 */
export function settleValue(value: unknown, maxBytes: number): ValueFacts {
  const seen = new Set<object>();
  const pending: unknown[] = [value];
  const freezable: object[] = [];
  let bytes = 0;
  while (pending.length > 0) {
    if (bytes > maxBytes) return { bytes: Infinity, problem: undefined };
    const next = pending.pop();
    bytes += slotBytes;
    if (typeof next === "string") bytes += stringBytes + next.length * characterBytes;
    else if (typeof next === "bigint") bytes += stringBytes + next.toString(16).length / 2;
    else if (typeof next === "function" || typeof next === "symbol") return { bytes, problem: `has a ${typeof next} in it` };
    else if (typeof next === "object" && next !== null && !seen.has(next)) {
      seen.add(next);
      bytes += objectBytes;
      if (Array.isArray(next)) {
        freezable.push(next);
        // Checked before they are put on the list: a sparse array may claim four billion.
        if (bytes + next.length * slotBytes > maxBytes) return { bytes: Infinity, problem: undefined };
        for (const item of next) pending.push(item);
      } else if (ArrayBuffer.isView(next)) bytes += bufferBytes + next.byteLength;
      else if (next instanceof ArrayBuffer) bytes += bufferBytes + next.byteLength;
      else if (next instanceof Map) {
        for (const [key, item] of next) pending.push(key, item);
      } else if (next instanceof Set) {
        for (const item of next) pending.push(item);
      } else if (next instanceof Date) bytes += objectBytes;
      else if (next instanceof RegExp) bytes += objectBytes + next.source.length * characterBytes;
      else if (isPlain(Object.getPrototypeOf(next) as object | null)) {
        freezable.push(next);
        for (const key of Object.keys(next)) {
          bytes += slotBytes;
          pending.push((next as Record<string, unknown>)[key]);
        }
      } else
        return { bytes, problem: `has an instance of ${nameOfClass(next)} in it, which a store would turn into a plain object` };
    }
  }
  for (const object of freezable) Object.freeze(object);
  return { bytes, problem: undefined };
}

function nameOfClass(instance: object): string {
  const { constructor } = instance;
  return typeof constructor === "function" && constructor.name !== "" ? constructor.name : "a class without a name";
}
