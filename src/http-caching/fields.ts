// Header fields as they came: in order, with their case, one entry per line. A value is looked up without regard to case, and the
// lines of one name can be had apart or combined (RFC 9110 § 5.2, 5.3). Immutable: what changes them returns others.

/** Names and values by turns, as node's `rawHeaders` has them. */
export type FlatFields = readonly string[];

const noLines: readonly string[] = [];

export class Fields {
  readonly flat: FlatFields;
  #index: Map<string, string[]> | undefined;

  constructor(flat: FlatFields) {
    this.flat = flat;
  }

  /** From an object such as node's `headers`: a list is one line for each. */
  static from(record: Readonly<Record<string, string | number | readonly string[] | undefined>>): Fields {
    const flat: string[] = [];
    for (const [name, value] of Object.entries(record)) {
      if (value === undefined) continue;
      if (typeof value === "object") for (const line of value) flat.push(name, line);
      else flat.push(name, String(value));
    }
    return new Fields(flat);
  }

  /** Each line of a field; none: it is not there. `name` in lower case. */
  lines(name: string): readonly string[] {
    return this.#byName().get(name) ?? noLines;
  }

  /** The field with its lines combined by ", "; undefined: it is not there. `name` in lower case. */
  get(name: string): string | undefined {
    const lines = this.#byName().get(name);
    return lines === undefined ? undefined : lines.length === 1 ? lines[0] : lines.join(", ");
  }

  has(name: string): boolean {
    return this.#byName().has(name);
  }

  /** Every name that is there, in lower case. */
  names(): Iterable<string> {
    return this.#byName().keys();
  }

  /** Without the fields that `drop` names, by their lower-case names. */
  without(drop: (name: string) => boolean): Fields {
    const flat: string[] = [];
    for (let i = 0; i < this.flat.length; i += 2) {
      if (!drop(this.flat[i]!.toLowerCase())) flat.push(this.flat[i]!, this.flat[i + 1]!);
    }
    return flat.length === this.flat.length ? this : new Fields(flat);
  }

  /** With the field as one line, in place of the lines that were there. */
  with(name: string, value: string): Fields {
    const lower = name.toLowerCase();
    return new Fields([...this.without((one) => one === lower).flat, name, value]);
  }

  #byName(): Map<string, string[]> {
    if (this.#index) return this.#index;
    const index = new Map<string, string[]>();
    for (let i = 0; i < this.flat.length; i += 2) {
      const name = this.flat[i]!.toLowerCase();
      const lines = index.get(name);
      if (lines) lines.push(this.flat[i + 1]!);
      else index.set(name, [this.flat[i + 1]!]);
    }
    return (this.#index = index);
  }
}

/** The members of a comma-separated list (RFC 9110 § 5.6.1), trimmed, empty ones left out. Commas inside of quotes do not separate. */
export function listMembers(value: string): string[] {
  const members: string[] = [];
  let start = 0;
  let quoted = false;
  const take = (end: number) => {
    const member = value.slice(start, end).trim();
    if (member !== "") members.push(member);
  };
  for (let i = 0; i < value.length; i++) {
    const char = value[i];
    if (char === "\\" && quoted) i++;
    else if (char === '"') quoted = !quoted;
    else if (char === "," && !quoted) {
      take(i);
      start = i + 1;
    }
  }
  take(value.length);
  return members;
}

/** tchar (RFC 9110 § 5.6.2). */
export const isToken = (text: string): boolean => /^[!#$%&'*+.^_`|~\w-]+$/.test(text);

/** Belong to one connection (RFC 9110 § 7.6.1), or to the next hop and its proxy (RFC 9111 § 3.1). */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** What a message keeps beyond its connection: neither the fields that belong to a hop nor those that Connection names. */
export function endToEnd(fields: Fields): Fields {
  const named = new Set(fields.lines("connection").flatMap((line) => listMembers(line.toLowerCase())));
  return fields.without((name) => hopByHop.has(name) || named.has(name));
}
