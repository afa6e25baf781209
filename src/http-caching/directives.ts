// Cache-Control and its kin as directives, read so that a mistake never makes an answer fresher (RFC 9111 § 4.2.1): a wrong number of
// seconds counts as none, of several the smallest counts, and a restriction is heeded even inside of what cannot be read.

import { type Fields, isToken, listMembers } from "./fields.ts";
import { type StructuredMember, parseDictionary } from "./structured-fields.ts";

/** The largest number of seconds that is counted with (RFC 9111 § 1.2.2): 68 years. */
export const mostSeconds = 2 ** 31;

interface Directive {
  readonly value: string | undefined;
  /** Something about it is not as the grammar has it. */
  readonly malformed: boolean;
}

/** Words that only ever restrict what a cache may do. */
const restricting = /(?<![\w-])(?:no-store|no-cache|private|must-revalidate|proxy-revalidate)(?![\w-])/g;

export class Directives {
  readonly #all: ReadonlyMap<string, readonly Directive[]>;

  constructor(all: ReadonlyMap<string, readonly Directive[]>) {
    this.#all = all;
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  has(name: string): boolean {
    return this.#all.has(name);
  }

  /** Seconds of a directive, the smallest of several; "invalid": one of them is no whole number; undefined: not there. */
  seconds(name: string): number | "invalid" | undefined {
    const given = this.#all.get(name);
    if (!given) return undefined;
    let least = mostSeconds;
    for (const { value, malformed } of given) {
      if (malformed || value === undefined || !/^\d+$/.test(value)) return "invalid";
      least = Math.min(least, Number(value));
    }
    return least;
  }

  /** Whether a directive is there without a value, or with one that cannot be read: for no-cache and private, the wide meaning. */
  isUnqualified(name: string): boolean {
    const given = this.#all.get(name);
    return given !== undefined && given.some(({ value, malformed }) => malformed || fieldNames(value).length === 0);
  }

  /** The fields that a qualified directive such as `no-cache="set-cookie"` names, in lower case. */
  fieldNames(name: string): readonly string[] {
    return (this.#all.get(name) ?? []).flatMap(({ value }) => fieldNames(value));
  }
}

/** None when any of them is no name: then nobody knows what is meant. */
function fieldNames(value: string | undefined): readonly string[] {
  if (value === undefined) return [];
  const names = listMembers(value.toLowerCase());
  return names.every(isToken) ? names : [];
}

class DirectiveList {
  readonly all = new Map<string, Directive[]>();

  add(name: string, value: string | undefined, malformed: boolean): void {
    const before = this.all.get(name);
    if (before) before.push({ value, malformed });
    else this.all.set(name, [{ value, malformed }]);
  }

  /** Restrictions that stand in what could not be read. */
  salvage(text: string): void {
    for (const [word] of text.toLowerCase().matchAll(restricting)) this.add(word, undefined, true);
  }
}

const namePattern = /[!#$%&'*+.^_`|~\w-]+/y;
const quotedPattern = /"((?:[^"\\]|\\.)*)"/y;
const barePattern = /[^,"]*/y;

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Where the member that begins at `at` ends: at a comma that is in no quotes. */
function endOfMember(text: string, at: number): number {
  let quoted = false;
  for (let i = at; i < text.length; i++) {
    if (text[i] === "\\" && quoted) i++;
    else if (text[i] === '"') quoted = !quoted;
    else if (text[i] === "," && !quoted) return i;
  }
  // A quote that is never closed swallows the rest; the caller salvages what stands there.
  return text.length;
}

const skip = (text: string, at: number, chars: string): number => {
  let i = at;
  while (i < text.length && chars.includes(text[i]!)) i++;
  return i;
};

/** One line. Every member yields a directive or is salvaged, and none holds up those behind it. */
function readLine(text: string, list: DirectiveList): void {
  for (let at = skip(text, 0, " \t,"); at < text.length; at = skip(text, endOfMember(text, at), " \t,")) {
    const end = endOfMember(text, at);
    const name = matchAt(namePattern, text, at)?.[0];
    if (name === undefined) {
      list.salvage(text.slice(at, end));
      continue;
    }
    const afterName = at + name.length;
    const equals = skip(text, afterName, " \t");
    if (text[equals] !== "=") {
      const rest = text.slice(afterName, end).trim();
      list.add(name.toLowerCase(), undefined, rest !== "");
      list.salvage(rest);
      continue;
    }
    const from = skip(text, equals + 1, " \t");
    const isQuoted = text[from] === '"';
    const match = matchAt(isQuoted ? quotedPattern : barePattern, text, from);
    const value = isQuoted ? match?.[1]?.replaceAll(/\\(.)/g, "$1") : match?.[0].trim();
    const rest = text.slice(from + (match?.[0].length ?? 0), end).trim();
    const malformed = equals !== afterName || from !== equals + 1 || value === undefined || rest !== "";
    list.add(name.toLowerCase(), value, malformed);
    if (rest !== "" || (!isQuoted && value !== undefined && !isToken(value))) list.salvage(`${value ?? ""} ${rest}`);
  }
}

/** The directives of every line of a field such as Cache-Control. */
export function parseDirectives(lines: readonly string[]): Directives {
  const list = new DirectiveList();
  for (const line of lines) readLine(line, list);
  return new Directives(list.all);
}

const inSeconds = new Set(["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"]);

/** A member of a targeted field as a directive; undefined: it is none, or of a type that the directive does not take (RFC 9213 § 2.1). */
function directiveOf(name: string, member: StructuredMember): Directive | undefined {
  if ("items" in member) return undefined;
  const { type, value } = member.item;
  if (inSeconds.has(name)) return type === "integer" ? { value: String(value), malformed: value < 0 } : undefined;
  if (type === "boolean") return value ? { value: undefined, malformed: false } : undefined;
  if (type === "bytes" || type === "display") return { value: undefined, malformed: true };
  return { value: String(value), malformed: false };
}

/**
 * The directives of a targeted field, which is a dictionary (RFC 9213 § 2.1). Undefined: it is not there, not well-formed, or empty,
 * and counts for nothing.
 */
export function parseTargeted(fields: Fields, name: string): Directives | undefined {
  const text = fields.get(name);
  const dictionary = text === undefined ? undefined : parseDictionary(text);
  if (!dictionary || dictionary.size === 0) return undefined;
  const list = new DirectiveList();
  for (const [key, member] of dictionary) {
    const directive = directiveOf(key, member);
    if (directive) list.add(key, directive.value, directive.malformed);
  }
  return new Directives(list.all);
}

/**
 * The directives of Surrogate-Control (W3C's Edge Architecture of 2001), from before there were targeted fields: those for every
 * surrogate and those for the one of this name. Undefined: none of them says whether or how long the answer is stored.
 */
export function parseSurrogate(fields: Fields, surrogate: string): Directives | undefined {
  const mine = fields.lines("surrogate-control").flatMap((line) =>
    listMembers(line).flatMap((member) => {
      const [directive = "", target] = member.split(";", 2);
      return target === undefined || target.trim() === surrogate ? [directive.trim()] : [];
    }),
  );
  // `max-age=600+300`: fresh for 600 s, and usable for 300 s more while it is made anew or cannot be had.
  const split = mine.map((member) => member.replace(/^(max-age=\d+)\+(\d+)$/i, "$1, stale-while-revalidate=$2, stale-if-error=$2"));
  const directives = parseDirectives(split);
  return directives.has("max-age") || directives.has("no-store") ? directives : undefined;
}
