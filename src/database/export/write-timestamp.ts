// Dates and timestamps of PostgreSQL's binary format in ISO 8601, character for character as row_to_json writes them. See
// docs/streaming-export.md. PostgreSQL counts days (int4) or microseconds (int8) from 2000-01-01; the extremes mean ±infinity.

import { bigintOf, fitsDouble, writeAscii, writePadded } from "./write-number.ts";

const dash = 0x2d;
const colon = 0x3a;
const dot = 0x2e;
const letterT = 0x54;
const zero = 0x30;
const dayMicros = 86_400_000_000;
/** Days from 0000-03-01 (proleptic Gregorian), where the calendar's 400-year cycle begins, to 2000-01-01. */
const cycleOffsetDays = 730_425;
const cycleDays = 146_097;
const int32Min = -0x8000_0000;
const int32Max = 0x7fff_ffff;

/** The longest text below: a timestamptz of a six-digit year with microseconds and " BC". */
export const maxTimestampBytes = 40;

/**
 * Writes year-month-day and returns where it ends; a year before 1 is written without its " BC".
 * The conversion is the one of Howard Hinnant's "chrono-compatible low-level date algorithms" (civil_from_days).
 */
function writeCalendarDate(out: Uint8Array, at: number, days: number): number {
  const shifted = days + cycleOffsetDays;
  const cycle = Math.floor(shifted / cycleDays);
  const dayOfCycle = shifted - cycle * cycleDays;
  const yearOfCycle =
    ((dayOfCycle - ((dayOfCycle / 1460) | 0) + ((dayOfCycle / 36_524) | 0) - ((dayOfCycle / 146_096) | 0)) / 365) | 0;
  const dayOfYear = dayOfCycle - (365 * yearOfCycle + ((yearOfCycle / 4) | 0) - ((yearOfCycle / 100) | 0));
  const marchMonth = ((5 * dayOfYear + 2) / 153) | 0;
  const day = dayOfYear - (((153 * marchMonth + 2) / 5) | 0) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const year = yearOfCycle + cycle * 400 + (month <= 2 ? 1 : 0);

  let o: number;
  if (year > 0 && year < 10_000) o = writePadded(out, at, year, 4);
  else o = writeAscii(out, at, String(year > 0 ? year : 1 - year).padStart(4, "0"));
  out[o] = dash;
  o = writePadded(out, o + 1, month, 2);
  out[o] = dash;
  return writePadded(out, o + 1, day, 2);
}

/** The first day of year 1: what is before it is BC. */
const firstDay = -730_119;

const writeEra = (out: Uint8Array, at: number, days: number): number => (days < firstDay ? writeAscii(out, at, " BC") : at);

/** Writes a date: `2024-02-29`, `0044-03-15 BC`, `infinity`. */
export function writeDate(out: Uint8Array, at: number, days: number): number {
  if (days === int32Max) return writeAscii(out, at, "infinity");
  if (days === int32Min) return writeAscii(out, at, "-infinity");
  return writeEra(out, writeCalendarDate(out, at, days), days);
}

/**
 * Writes a timestamp whose 64-bit count has the halves `high` and `low`: `2024-02-29T12:00:00.5`, behind it `+00:00` when
 * `utcOffset` (timestamptz; callers make sure that the session's time zone is UTC).
 */
export function writeTimestamp(out: Uint8Array, at: number, high: number, low: number, utcOffset: boolean): number {
  let days: number;
  let micros: number;
  if (fitsDouble(high)) {
    const value = high * 0x1_0000_0000 + (low >>> 0);
    days = Math.floor(value / dayMicros);
    micros = value - days * dayMicros;
  } else {
    if (high === int32Max && low >>> 0 === 0xffff_ffff) return writeAscii(out, at, "infinity");
    if (high === int32Min && low >>> 0 === 0) return writeAscii(out, at, "-infinity");
    const value = bigintOf(high, low);
    const remainder = value % BigInt(dayMicros);
    micros = Number(remainder < 0n ? remainder + BigInt(dayMicros) : remainder);
    days = Number((value - BigInt(micros)) / BigInt(dayMicros));
  }
  const seconds = Math.floor(micros / 1e6);
  const fraction = micros - seconds * 1e6;
  const minutes = (seconds / 60) | 0;
  const hours = (minutes / 60) | 0;

  let o = writeCalendarDate(out, at, days);
  out[o] = letterT;
  o = writePadded(out, o + 1, hours, 2);
  out[o] = colon;
  o = writePadded(out, o + 1, minutes - hours * 60, 2);
  out[o] = colon;
  o = writePadded(out, o + 1, seconds - minutes * 60, 2);
  if (fraction !== 0) {
    out[o] = dot;
    o = writePadded(out, o + 1, fraction, 6);
    while (out[o - 1] === zero) o--;
  }
  if (utcOffset) o = writeAscii(out, o, "+00:00");
  return writeEra(out, o, days);
}
