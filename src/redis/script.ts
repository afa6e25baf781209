// Lua scripts: sent by their hash, and once in full to a server that does not know them (after a restart, on another node).

import { createHash } from "node:crypto";

/** A script with its hash. Make it once, at module level. */
export interface RedisScript {
  /** For messages. */
  readonly name: string;
  readonly source: string;
  /** SHA-1 in hex, as EVALSHA wants it. */
  readonly sha: string;
}

/**
 * Declares a script. It must touch only keys of the one slot of those that it is given: these, or keys that it derives from them and that
 * have their tag. It reads its arguments from ARGV.
 */
export function defineScript(name: string, source: string): RedisScript {
  return Object.freeze({ name, source, sha: createHash("sha1").update(source).digest("hex") });
}

/** Whether a reply says that the server does not know the script. */
export const isUnknownScript = (reason: string): boolean => reason.startsWith("NOSCRIPT");
