// Tokens that a server gives out and stores only as hashes. See docs/identity.md.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** 256 bits: no search finds one, so a fast hash is enough to store it. */
const tokenBytes = 32;

/** A new random token, 43 characters of base64url. Show it once; store hashToken() of it. */
export function createToken(): string {
  return randomBytes(tokenBytes).toString("base64url");
}

/**
 * SHA-256 of a token, as 64 hexadecimal digits: what to store and to look up. A look-up by the hash tells an attacker nothing by
 * its timing, for nobody can choose a hash's first bytes.
 */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Whether `token` is the one whose hash was stored, in a time that does not depend on where they differ. */
export function verifyToken(token: string, storedHash: string): boolean {
  const expected = Buffer.from(storedHash, "hex");
  const actual = createHash("sha256").update(token).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}
