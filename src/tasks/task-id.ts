// Ids of tasks and groups: UUIDs of version 7 (RFC 9562), which sort by the time at which they were made. Ids of one process sort in the
// order in which they were made, also within a millisecond and when the clock is put back (the RFC's method 1, a counter of 12 bits).

import { randomBytes } from "node:crypto";
import { type Clock, systemClock } from "../core/index.ts";

/** 62 random bits, and where the counter begins. */
const bytesPerId = 10;

let lastMs = 0;
let counter = 0;
let pool = randomBytes(0);
let used = 0;

/** Random bytes are drawn for 512 ids at a time: one draw costs as much as twenty ids. */
function nextRandom(): Buffer {
  if (used === pool.length) {
    pool = randomBytes(512 * bytesPerId);
    used = 0;
  }
  return pool.subarray(used, (used += bytesPerId));
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");

/** A new id. */
export function newTaskId(clock: Clock = systemClock): string {
  const nowMs = clock.now();
  const random = nextRandom();
  if (nowMs > lastMs) {
    lastMs = nowMs;
    counter = random.readUInt16BE(8) & 0x7ff; // half of the room, so that the counter seldom overflows
  } else if (++counter > 0xfff) {
    lastMs++;
    counter = 0;
  }
  const time = hex(lastMs, 12);
  const variant = hex(0x8000 | (random.readUInt16BE(0) & 0x3fff), 4);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(counter, 3)}-${variant}-${random.toString("hex", 2, 8)}`;
}
