// Why an entry is not served, or not kept, in words for people.

import type { Refusal } from "./ledger.ts";

export const refusalSentence: Readonly<Record<Refusal | "expired", string>> = Object.freeze({
  written: "something that it depends on was written after what it reflects",
  generation: "the numbering of writes began anew since it was made",
  "own-write": "this process has written to what it depends on and cannot tell yet whether it reflects that",
  token: "the request must see a write that it does not reflect, or that is not known here yet",
  "feed-silent": "the feed of changes is silent, so nothing can be judged",
  "feed-starting": "the feed of changes has not begun",
  expired: "its time is over",
});

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
