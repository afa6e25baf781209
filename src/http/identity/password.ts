// Passwords: argon2id (RFC 9106) in PHC string format, off the event loop, a bounded number at a time. See docs/identity.md.

import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { httpErrors } from "../errors.ts";

interface Cost {
  readonly memoryKiB: number;
  readonly passes: number;
  readonly lanes: number;
}

/** OWASP Password Storage Cheat Sheet, argon2id: 19 MiB, 2 passes, 1 lane. 30–40 ms on the machine that it was tried on. */
const cost: Cost = { memoryKiB: 19_456, passes: 2, lanes: 1 };
/** RFC 9106 § 3.1: 16 bytes of salt are recommended; 32 bytes of tag is what PHC implementations write. */
const saltBytes = 16;
const tagBytes = 32;
/** What a stored string may ask for at the most, so that a manipulated row cannot take the memory. */
const most: Cost = { memoryKiB: 1024 * 1024, passes: 16, lanes: 16 };

/** Two of libuv's four threads, so that files, compression and name look-ups keep two; 38 MiB at a time. */
const maxRunning = 2;
/** Two seconds' worth. Beyond, a log-in would wait longer than people do. */
const maxWaiting = 100;

let running = 0;
const waiting: (() => void)[] = [];

async function bounded<Result>(work: () => Promise<Result>): Promise<Result> {
  if (running >= maxRunning) {
    if (waiting.length >= maxWaiting) throw httpErrors.create("MILLRACE_HTTP_PASSWORD_BUSY", { waiting: waiting.length });
    await new Promise<void>((resolve) => waiting.push(resolve)); // whoever ends hands its place over
  } else {
    running++;
  }
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

function derive(password: string, salt: Uint8Array, length: number, { memoryKiB, passes, lanes }: Cost): Promise<Buffer> {
  const parameters = {
    message: password.normalize("NFKC"),
    nonce: salt,
    parallelism: lanes,
    tagLength: length,
    memory: memoryKiB,
    passes,
  };
  return bounded(
    () =>
      new Promise<Buffer>((resolve, reject) => {
        argon2("argon2id", parameters, (error, key) => (error ? reject(error) : resolve(key)));
      }),
  );
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64").replaceAll("=", "");

/**
 * The argon2id hash of a password, to be stored: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. Takes about 40 ms and 19 MiB, on
 * another thread. Limit the length of passwords in the endpoint's schema.
 * @throws MILLRACE_HTTP_PASSWORD_BUSY when a hundred already wait
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const tag = await derive(password, salt, tagBytes, cost);
  return `$argon2id$v=19$m=${cost.memoryKiB},t=${cost.passes},p=${cost.lanes}$${base64(salt)}$${base64(tag)}`;
}

const phc = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/;

/** Stands in for an account that does not exist. */
const nobodysSalt = Buffer.alloc(saltBytes);

/**
 * Whether `password` is the one that was hashed. Pass undefined where there is no such account: it takes as long and is false,
 * so that the time of an answer does not tell which accounts exist.
 * @throws MILLRACE_HTTP_PASSWORD_HASH_INVALID, MILLRACE_HTTP_PASSWORD_BUSY
 */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  if (stored === undefined) {
    await derive(password, nobodysSalt, tagBytes, cost);
    return false;
  }
  const match = phc.exec(stored);
  if (!match) throw httpErrors.create("MILLRACE_HTTP_PASSWORD_HASH_INVALID", {});
  const storedCost: Cost = { memoryKiB: Number(match[1]), passes: Number(match[2]), lanes: Number(match[3]) };
  if (storedCost.memoryKiB > most.memoryKiB || storedCost.passes > most.passes || storedCost.lanes > most.lanes) {
    throw httpErrors.create("MILLRACE_HTTP_PASSWORD_HASH_INVALID", {});
  }
  const expected = Buffer.from(match[5]!, "base64");
  const actual = await derive(password, Buffer.from(match[4]!, "base64"), expected.length, storedCost);
  return timingSafeEqual(actual, expected);
}
