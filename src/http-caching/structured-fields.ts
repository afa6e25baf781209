// Structured fields (RFC 9651), as far as caching has them: dictionaries, lists, their items with parameters, and the writing of
// strings and tokens. Reading is strict: a field that is not well-formed is no field.

/** A date (§ 3.3.7) is its seconds, bytes are bytes, a display string its text. */
export type BareItem =
  | { readonly type: "integer" | "decimal" | "date"; readonly value: number }
  | { readonly type: "string" | "token" | "display"; readonly value: string }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: "bytes"; readonly value: Uint8Array };

export type Parameters = ReadonlyMap<string, BareItem>;

export interface StructuredItem {
  readonly item: BareItem;
  readonly parameters: Parameters;
}

export interface InnerList {
  readonly items: readonly StructuredItem[];
  readonly parameters: Parameters;
}

export type StructuredMember = StructuredItem | InnerList;

/** Ends the reading of a field that is not well-formed; never leaves this file. */
class Malformed extends Error {}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get done(): boolean {
    return this.#at >= this.#text.length;
  }

  peek(): string {
    return this.#text[this.#at] ?? "";
  }

  take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  expect(char: string): void {
    if (!this.take(char)) throw new Malformed();
  }

  /** What a sticky expression matches here. */
  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  need(pattern: RegExp): string {
    const found = this.match(pattern);
    if (found === undefined) throw new Malformed();
    return found;
  }
}

const spaces = / */y;
const optionalWhitespace = /[ \t]*/y;
const keyPattern = /[a-z*][a-z0-9_.*-]*/y;
const tokenPattern = /[A-Za-z*][!#$%&'*+.^_`|~:/\w-]*/y;
const numberPattern = /-?\d+(?:\.\d+)?/y;
const stringPattern = /"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/y;
const bytesPattern = /:[A-Za-z0-9+/=]*:/y;
const displayPattern = /%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"/y;

function numberItem(text: string): BareItem {
  const [whole = "", fraction] = text.replace("-", "").split(".");
  if (fraction === undefined) {
    if (whole.length > 15) throw new Malformed();
    return { type: "integer", value: Number(text) };
  }
  if (whole.length > 12 || fraction.length > 3) throw new Malformed();
  return { type: "decimal", value: Number(text) };
}

function displayItem(text: string): BareItem {
  try {
    return { type: "display", value: decodeURIComponent(text.slice(2, -1)) };
  } catch {
    throw new Malformed();
  }
}

function readBareItem(reader: Reader): BareItem {
  const next = reader.peek();
  if (next === '"') {
    return { type: "string", value: reader.need(stringPattern).slice(1, -1).replaceAll(/\\(.)/g, "$1") };
  }
  if (next === "?") {
    const text = reader.need(/\?[01]/y);
    return { type: "boolean", value: text === "?1" };
  }
  if (next === ":") return { type: "bytes", value: Buffer.from(reader.need(bytesPattern).slice(1, -1), "base64") };
  if (next === "%") return displayItem(reader.need(displayPattern));
  if (reader.take("@")) {
    const { type, value } = numberItem(reader.need(numberPattern));
    if (type !== "integer") throw new Malformed();
    return { type: "date", value };
  }
  const number = reader.match(numberPattern);
  if (number !== undefined) return numberItem(number);
  return { type: "token", value: reader.need(tokenPattern) };
}

const yes: BareItem = { type: "boolean", value: true };

function readParameters(reader: Reader): Parameters {
  const parameters = new Map<string, BareItem>();
  while (reader.take(";")) {
    reader.match(spaces);
    const key = reader.need(keyPattern);
    parameters.delete(key); // the last one counts, at its place
    parameters.set(key, reader.take("=") ? readBareItem(reader) : yes);
  }
  return parameters;
}

function readMember(reader: Reader): StructuredMember {
  if (!reader.take("(")) return { item: readBareItem(reader), parameters: readParameters(reader) };
  const items: StructuredItem[] = [];
  for (;;) {
    reader.match(spaces);
    if (reader.take(")")) return { items, parameters: readParameters(reader) };
    items.push({ item: readBareItem(reader), parameters: readParameters(reader) });
    if (reader.peek() !== " " && reader.peek() !== ")") throw new Malformed();
  }
}

/** Members, apart by commas, with nothing before, between and after that does not belong there. */
function readAll(text: string, readOne: (reader: Reader) => void): boolean {
  const reader = new Reader(text);
  try {
    reader.match(spaces);
    while (!reader.done) {
      readOne(reader);
      reader.match(optionalWhitespace);
      if (reader.done) return true;
      reader.expect(",");
      reader.match(optionalWhitespace);
      if (reader.done) return false; // a comma at the end
    }
    return true;
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

const trimmed = (text: string): string => text.replaceAll(/^ +| +$/g, "");

/** A dictionary (§ 4.2.2), or undefined: it is not well-formed. An empty field is an empty dictionary. */
export function parseDictionary(text: string): ReadonlyMap<string, StructuredMember> | undefined {
  const members = new Map<string, StructuredMember>();
  const isWellFormed = readAll(trimmed(text), (reader) => {
    const key = reader.need(keyPattern);
    const member = reader.take("=") ? readMember(reader) : { item: yes, parameters: readParameters(reader) };
    members.delete(key);
    members.set(key, member);
  });
  return isWellFormed ? members : undefined;
}

/** A list (§ 4.2.1), or undefined: it is not well-formed. */
export function parseList(text: string): readonly StructuredMember[] | undefined {
  const members: StructuredMember[] = [];
  return readAll(trimmed(text), (reader) => members.push(readMember(reader))) ? members : undefined;
}

/** A string (§ 4.1.6). What is not printable ASCII becomes "?", for a structured string cannot say it. */
export const structuredString = (text: string): string => `"${text.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "\\$&")}"`;

const wholeToken = /^[A-Za-z*][!#$%&'*+.^_`|~:/\w-]*$/;

/** A token where `text` is one, else a string. */
export const tokenOrString = (text: string): string => (wholeToken.test(text) ? text : structuredString(text));
