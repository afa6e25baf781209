// The options of http-caching, their checks, and every default in one literal with its reason.

import { type Duration, type OptionCheck, type OptionChecks, boolean, duration, oneOf } from "../core/index.ts";
import { isToken } from "./fields.ts";

/** Which of the things that RFC 9111 leaves open a cache does. See docs/http-caching.md. */
export interface CachingRulesOptions {
  /** Whether one stored answer serves several people. Default true. */
  readonly shared?: boolean | undefined;
  /**
   * Whether an answer that says nothing about its freshness may be used for a tenth of its age (RFC 9111 § 4.2.2). Default false.
   */
  readonly heuristic?: boolean | undefined;
  /** The longest that an answer is used by that rule. Default "1d". */
  readonly maxHeuristic?: Duration | undefined;
  /**
   * Fields that take the place of Cache-Control and Expires, the first that is there and well-formed (RFC 9213). Default
   * `["cdn-cache-control"]` for a shared cache, none for a private one.
   */
  readonly targets?: readonly string[] | undefined;
  /**
   * The name of the surrogate that this cache is: then Surrogate-Control counts where no targeted field is there. Default: it does
   * not count.
   */
  readonly surrogate?: string | undefined;
  /** How long after its time an answer may stand in for one that the origin fails to give, where it does not say. Default "1h". */
  readonly staleIfError?: Duration | undefined;
  /**
   * Answers with Set-Cookie. "explicit": a shared cache keeps those that say that they are meant for it, by `public`, `s-maxage` or
   * a targeted field. "store": as any other, as RFC 9111 § 7.3 has it. "refuse": never. Default "explicit".
   */
  readonly setCookie?: "explicit" | "store" | "refuse" | undefined;
}

export const cachingRulesDefaults = {
  shared: true, // what stands in front of an API is
  heuristic: false, // a guess about somebody else's data; whoever wants it says so
  maxHeuristic: "1d", // RFC 9111 § 4.2.2 asked for a warning beyond it as long as there were warnings
  staleIfError: "1h", // an outage that people mend; RFC 9111 § 4.2.4 allows it to a cache that is cut off
  setCookie: "explicit", // an origin that forgets `private` on a page which begins a session must not hand the session to others
} as const satisfies CachingRulesOptions;

const fieldNames: OptionCheck<readonly string[], readonly string[]> = {
  expected: "names of fields, such as cdn-cache-control",
  read: (value) =>
    Array.isArray(value) && value.every((name) => typeof name === "string" && isToken(name))
      ? value.map((name: string) => name.toLowerCase())
      : undefined,
};

export const cachingRulesChecks = {
  shared: boolean,
  heuristic: boolean,
  maxHeuristic: duration(),
  targets: fieldNames,
  surrogate: { expected: "a token", read: (value: string) => (isToken(value) ? value : undefined) },
  staleIfError: duration(),
  setCookie: oneOf("explicit", "store", "refuse"),
} as const satisfies OptionChecks<CachingRulesOptions>;
