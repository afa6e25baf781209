// What kept answers say to the CDNs in front: their keys and how long they are fresh there, or that they are not to be stored. See docs/cdn.md.
//
// | an answer                                                  | says                                        |
// | ---------------------------------------------------------- | ------------------------------------------- |
// | for everybody, kept, fresh                                 | its keys, and the time that the cache keeps it |
// | not kept: nobody knows what it depends on                  | not to be stored                            |
// | stale                                                      | not to be stored: a purge may have gone by  |
// | that differs by request headers                            | not to be stored: not every CDN tells them apart |
// | for one user or tenant, a problem, of no cached endpoint   | nothing                                     |

import type { Cdn } from "../../cdn/index.ts";
import type { AnswerOutcome, ResponseEntry, StoredHeader } from "./entry.ts";
import type { CachePlan } from "./plan.ts";

const none: readonly StoredHeader[] = [];

/** Made when a head is, not for each request. They take the place of headers of the same name. */
export function cdnHeaders(
  cdn: Cdn | undefined,
  plan: CachePlan,
  entry: ResponseEntry,
  { state, stored, ageMs, remainingMs, dependencies }: AnswerOutcome,
): readonly StoredHeader[] {
  if (cdn === undefined || plan.scope !== "public" || entry.failure !== undefined) return none;
  const cacheControl = entry.header("cache-control");
  const fields =
    stored && state !== "stale" && plan.vary.length === 0
      ? cdn.answerFields(dependencies, { seconds: (ageMs + remainingMs) / 1_000 }, cacheControl)
      : cdn.withheldFields(cacheControl);
  return Object.entries(fields).map(([name, value]) => ({ name, values: [value] }));
}
