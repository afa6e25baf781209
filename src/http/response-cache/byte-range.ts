// Range headers (RFC 9110 § 14.1.2 and § 14.2), as far as single ranges of bytes go.

/** Positions of the first and the last byte, from 0. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

const single = /^bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*$/i;

/**
 * What `header` asks for of a body of `length` bytes. undefined: to be answered with all of it, because it is not well-formed, of another unit, or
 * a list of ranges (a server may ignore those, and they have been used to multiply an answer).
 */
export function rangeIn(header: string, length: number): ByteRange | "unsatisfiable" | undefined {
  const parts = single.exec(header);
  if (parts === null) return undefined;
  const [, from, to, suffix] = parts;
  if (suffix !== undefined) {
    const wanted = Math.min(Number(suffix), length);
    return wanted === 0 ? "unsatisfiable" : { first: length - wanted, last: length - 1 };
  }
  const first = Number(from);
  const last = to === "" ? Infinity : Number(to);
  if (last < first) return undefined;
  return first >= length ? "unsatisfiable" : { first, last: Math.min(last, length - 1) };
}
