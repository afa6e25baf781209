// What a client carries from the answer to a write to its next read, so that another process answers no older: which dependencies were
// written, and up to which number of the log. Signed, because a demand that nothing meets would keep a client away from the cache.
//
// Layout, base64url: version (1 byte), number (8, little-endian double), hashes of dependencies (8 each, none: anything), HMAC-SHA256 of what
// stands before, 16 bytes of it.

import { createHmac, timingSafeEqual } from "node:crypto";
import type { Demand } from "../cache/index.ts";

const version = 1;
const headBytes = 9;
/** 128 bits: forging takes as many tries on average as guessing a random token. */
const macBytes = 16;

/** Tables beyond this many are "anything": a token is a header, and headers are limited. */
export const maxTokenDependencies = 64;

/** The longest token that is looked at. */
export const maxTokenLength = Math.ceil(((headBytes + maxTokenDependencies * 8 + macBytes) * 4) / 3);

const sign = (bytes: Uint8Array, key: Uint8Array): Buffer => createHmac("sha256", key).update(bytes).digest().subarray(0, macBytes);

/** A key of its own for tokens, from the secret that the processes share. */
export const tokenKey = (secret: Uint8Array): Uint8Array =>
  createHmac("sha256", secret).update("millrace freshness token").digest();

/** The token that demands writes up to `upTo` to these dependencies. */
export function writeToken({ upTo, dependencies }: Demand, key: Uint8Array): string {
  const hashes = dependencies.length / 2 > maxTokenDependencies ? new Uint32Array(0) : dependencies;
  const bytes = Buffer.alloc(headBytes + hashes.length * 4 + macBytes);
  bytes.writeUInt8(version, 0);
  bytes.writeDoubleLE(upTo, 1);
  for (const [i, half] of hashes.entries()) bytes.writeUInt32LE(half, headBytes + i * 4);
  const signed = bytes.subarray(0, -macBytes);
  sign(signed, key).copy(bytes, signed.length);
  return bytes.toString("base64url");
}

/** What a token demands; undefined for anything that writeToken() with this key has not made. Takes a time that does not tell why. */
export function readToken(token: string, key: Uint8Array): Demand | undefined {
  if (token.length > maxTokenLength || !/^[\w-]+$/.test(token)) return undefined;
  const bytes = Buffer.from(token, "base64url");
  const hashBytes = bytes.length - headBytes - macBytes;
  if (hashBytes < 0 || hashBytes % 8 !== 0) return undefined;
  const signed = bytes.subarray(0, -macBytes);
  if (!timingSafeEqual(sign(signed, key), bytes.subarray(-macBytes))) return undefined;
  if (bytes.readUInt8(0) !== version) return undefined;
  const dependencies = new Uint32Array(hashBytes / 4);
  for (let i = 0; i < dependencies.length; i++) dependencies[i] = bytes.readUInt32LE(headBytes + i * 4);
  return { upTo: bytes.readDoubleLE(1), dependencies };
}
