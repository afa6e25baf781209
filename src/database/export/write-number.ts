// Integers of PostgreSQL's binary format as decimal digits, written in place. See docs/streaming-export.md.

const minus = 0x2d;
const zero = 0x30;

/** Writes an unsigned integer below 2³² at `at` and returns where it ends. */
export function writeUint32(out: Uint8Array, at: number, value: number): number {
  let end = at + 1;
  for (let limit = 10; limit <= value; limit *= 10) end++;
  let rest = value >>> 0;
  for (let i = end - 1; i >= at; i--) {
    const quotient = (rest / 10) >>> 0;
    out[i] = zero + (rest - quotient * 10);
    rest = quotient;
  }
  return end;
}

/** Writes exactly `digits` digits of a non-negative integer below 2³², with leading zeros. */
export function writePadded(out: Uint8Array, at: number, value: number, digits: number): number {
  let rest = value >>> 0;
  for (let i = at + digits - 1; i >= at; i--) {
    const quotient = (rest / 10) >>> 0;
    out[i] = zero + (rest - quotient * 10);
    rest = quotient;
  }
  return at + digits;
}

/** Writes a signed integer from −2³¹ to 2³¹−1. */
export function writeInt32(out: Uint8Array, at: number, value: number): number {
  if (value >= 0) return writeUint32(out, at, value);
  out[at] = minus;
  return writeUint32(out, at + 1, -value);
}

/** Writes text of ASCII characters only. */
export function writeAscii(out: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) out[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/** The 64-bit integer of two halves; slow, for the values that a double does not hold. */
export const bigintOf = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0);

/** Whether the 64-bit integer of these halves is exact as a double (and its negation too). */
export const fitsDouble = (high: number): boolean => high >= -0x1f_ffff && high < 0x1f_ffff;

/** Writes the 64-bit integer whose halves are `high` (signed) and `low` (unsigned). */
export function writeInt64(out: Uint8Array, at: number, high: number, low: number): number {
  if (high === 0) return writeUint32(out, at, low >>> 0);
  if (!fitsDouble(high)) return writeAscii(out, at, bigintOf(high, low).toString());
  let value = high * 0x1_0000_0000 + (low >>> 0);
  let o = at;
  if (value < 0) {
    out[o++] = minus;
    value = -value;
  }
  const billions = Math.floor(value / 1e9);
  const rest = value - billions * 1e9;
  if (billions === 0) return writeUint32(out, o, rest);
  return writePadded(out, writeUint32(out, o, billions), rest, 9);
}
