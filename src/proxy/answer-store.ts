// The stored answers by URL: for each URL the one without Vary, and the variants of the others, in one memory tier (S3-FIFO).

import { type MemoryTierStats, createMemoryTier } from "../cache/index.ts";
import { type Fields, variantKey } from "../http-caching/index.ts";
import { Invalidations } from "./invalidations.ts";
import { StoredAnswer, bytesOfAnswer } from "./stored-answer.ts";

/** What is known of a URL. */
interface Resource {
  /** The answer without Vary. */
  readonly plain: StoredAnswer | undefined;
  /** The lists of names that answers of this URL have had in Vary. */
  readonly varies: readonly (readonly string[])[];
}

/** Lists of names in Vary that are tried per URL: an origin has one or two. The oldest falls out. */
const mostVaries = 8;

export interface AnswerStoreOptions {
  readonly maxBytes: number;
  readonly maxEntryRatio: number;
}

const bytesOf = (value: StoredAnswer | Resource): number =>
  value instanceof StoredAnswer
    ? bytesOfAnswer(value)
    : 100 + (value.plain ? bytesOfAnswer(value.plain) : 0) + value.varies.reduce((sum, names) => sum + 16 + names.length * 40, 0);

const resourceKey = (url: string): string => `r ${url}`;
const variantKeyOf = (url: string, vary: readonly string[], variant: string): string => `v ${url}\n${vary.join()}\n${variant}`;

export class AnswerStore {
  readonly #tier;
  readonly #invalidations = new Invalidations();
  /** An answer that is larger is not worth recording. */
  readonly maxAnswerBytes: number;

  constructor({ maxBytes, maxEntryRatio }: AnswerStoreOptions) {
    this.#tier = createMemoryTier<StoredAnswer | Resource>({ name: "proxy", maxBytes, maxEntryRatio, sizeOf: bytesOf });
    this.maxAnswerBytes = Math.floor(maxBytes * maxEntryRatio);
  }

  /** A point in time to be given to put(): take it before the origin is asked. */
  now(): number {
    return this.#invalidations.now();
  }

  /** The stored answer for a request, whether or not it is fresh: of several the youngest. */
  find(url: string, request: Fields): StoredAnswer | undefined {
    const resource = this.#resource(url);
    if (!resource) return undefined;
    let found = resource.plain && this.#isValid(url, resource.plain) ? resource.plain : undefined;
    for (const vary of resource.varies) {
      const stored = this.#tier.get(variantKeyOf(url, vary, variantKey(vary, request)));
      if (!(stored instanceof StoredAnswer) || !this.#isValid(url, stored)) continue;
      if (!found || stored.facts.responseTimeMs >= found.facts.responseTimeMs) found = stored;
    }
    return found;
  }

  /** Whether anything is known of the URL, so that a miss is one of its variants. */
  knows(url: string): boolean {
    return this.#tier.has(resourceKey(url));
  }

  /** A text that is the same for requests which, by all that is known of the URL, get the same answer. */
  questionOf(url: string, request: Fields): string {
    const names = new Set(this.#resource(url)?.varies.flat());
    return `${url}\n${variantKey([...names].toSorted(), request)}`;
  }

  /** Stores an answer, unless it has been made worthless since it was asked for or is too large; says whether. */
  put(url: string, answer: StoredAnswer): boolean {
    if (!this.#isValid(url, answer)) return false;
    const before = this.#resource(url);
    if (answer.vary.length === 0) return this.#tier.set(resourceKey(url), { plain: answer, varies: before?.varies ?? [] });
    const names = answer.vary.join();
    const others = before?.varies.filter((one) => one.join() !== names) ?? [];
    // An older answer without Vary does not know yet that it depends on the request.
    this.#tier.set(resourceKey(url), { plain: undefined, varies: [answer.vary, ...others].slice(0, mostVaries) });
    return this.#tier.set(variantKeyOf(url, answer.vary, answer.variant), answer);
  }

  /** Whether something that was asked for at `since` has been made worthless meanwhile. */
  isOutdated(url: string, groups: readonly string[], since: number): boolean {
    return this.#invalidations.hit([url, ...groups.map((group) => groupName(url, group))], since);
  }

  /** Makes every answer of the URL worthless, and those that are on their way. */
  invalidate(url: string): void {
    this.#invalidations.add(url);
    this.#tier.delete(resourceKey(url));
  }

  /** Takes one answer out; others of the URL stay. */
  remove(url: string, answer: StoredAnswer): void {
    if (answer.vary.length > 0) this.#tier.delete(variantKeyOf(url, answer.vary, answer.variant));
    else {
      const resource = this.#resource(url);
      if (resource) this.#tier.set(resourceKey(url), { plain: undefined, varies: resource.varies });
    }
  }

  /** Makes every answer of a group worthless: that of the URL's origin. */
  invalidateGroup(url: string, group: string): void {
    this.#invalidations.add(groupName(url, group));
  }

  stats(): MemoryTierStats {
    return this.#tier.stats();
  }

  #resource(url: string): Resource | undefined {
    const resource = this.#tier.get(resourceKey(url));
    return resource instanceof StoredAnswer ? undefined : resource;
  }

  #isValid(url: string, answer: StoredAnswer): boolean {
    return !this.isOutdated(url, answer.groups, answer.since);
  }
}

/** A group is one of an origin (RFC 9875 § 2.1). No URL reads like this. */
const groupName = (url: string, group: string): string => `group ${URL.parse(url)?.origin ?? ""} ${group}`;
