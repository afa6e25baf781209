// The sql tag: every value becomes a parameter, every piece of text comes from a template in the source. There is no way to
// turn a string into SQL, so there is nothing to escape. See docs/sql.md.

import { databaseErrors } from "./errors.ts";

/** A statement as the driver takes it: text with $1, $2 … and their values. */
export interface RenderedStatement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** Texts of templates without fragments, which never change: a call site renders once in its life. */
const plainTexts = new WeakMap<TemplateStringsArray, string>();

/** A piece of SQL with its parameters: a whole statement or a fragment of one. `Row` is the type of a result row. */
export class Sql<Row = Record<string, unknown>> {
  /** Only for the type system: what a row of the result looks like. */
  declare readonly row: Row;
  readonly #strings: readonly string[];
  readonly #values: readonly unknown[];

  constructor(strings: readonly string[], values: readonly unknown[]) {
    this.#strings = strings;
    this.#values = values;
  }

  /** The text and the values. Nested fragments are flattened, parameters numbered in order of appearance. */
  render(): RenderedStatement {
    const values = this.#values;
    let plain = true;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (value instanceof Sql) plain = false;
      else if (value === undefined)
        throw databaseErrors.create("MILLRACE_SQL_UNDEFINED", { position: i + 1, text: this.#strings.join("…") });
    }
    if (!plain) {
      const flat: unknown[] = [];
      return { text: this.renderWith((value) => `$${flat.push(value)}`), values: flat };
    }
    const key = this.#strings as TemplateStringsArray;
    let text = plainTexts.get(key);
    if (text === undefined) {
      text = this.#strings[0]!;
      for (let i = 1; i < this.#strings.length; i++) text += `$${i}${this.#strings[i]!}`;
      plainTexts.set(key, text);
    }
    return { text, values };
  }

  /** The text with every parameter written as `parameter` says, for statements that cannot take $1 (COPY). */
  renderWith(parameter: (value: unknown) => string): string {
    let text = this.#strings[0]!;
    for (let i = 0; i < this.#values.length; i++) {
      const value = this.#values[i];
      if (value === undefined)
        throw databaseErrors.create("MILLRACE_SQL_UNDEFINED", { position: i + 1, text: this.#strings.join("…") });
      text += (value instanceof Sql ? value.renderWith(parameter) : parameter(value)) + this.#strings[i + 1]!;
    }
    return text;
  }
}

const quoteIdentifier = (name: string): string => {
  if (name === "" || name.includes("\0")) throw databaseErrors.create("MILLRACE_SQL_IDENTIFIER_INVALID", { name });
  return `"${name.replaceAll('"', '""')}"`;
};

/** A tagged template and the few pieces that a template cannot say. */
export interface SqlTag {
  <Row = Record<string, unknown>>(strings: TemplateStringsArray, ...values: readonly unknown[]): Sql<Row>;
  /** A quoted name, qualified when several parts are given: `sql.identifier("public", "cities")` → `"public"."cities"`. */
  identifier(...parts: readonly [string, ...string[]]): Sql;
  /** Fragments with `separator` between them (default `, `). */
  join(fragments: readonly Sql[], separator?: Sql): Sql;
  /** Values as a parenthesised list of parameters. One statement text per length: prefer `= any(${values})`, which has one. */
  list(values: readonly unknown[]): Sql;
  /** A JSON parameter. Needed for arrays, which the driver would otherwise send as PostgreSQL arrays. */
  json(value: unknown): string;
  /** No text at all, for optional fragments. */
  readonly empty: Sql;
}

function tag<Row>(strings: TemplateStringsArray, ...values: readonly unknown[]): Sql<Row> {
  if (!Array.isArray(strings) || !("raw" in strings)) throw databaseErrors.create("MILLRACE_SQL_NOT_A_TEMPLATE", {});
  return new Sql<Row>(strings, values);
}

const join = (fragments: readonly Sql[], separator: Sql): Sql => {
  const parts = fragments.flatMap((fragment, i) => (i === 0 ? [fragment] : [separator, fragment]));
  return new Sql(
    Array.from({ length: parts.length + 1 }, () => ""),
    parts,
  );
};

const comma = new Sql([", "], []);

export const sql: SqlTag = Object.assign(tag, {
  identifier: (...parts: readonly [string, ...string[]]) => new Sql([parts.map(quoteIdentifier).join(".")], []),
  join: (fragments: readonly Sql[], separator: Sql = comma) => join(fragments, separator),
  list: (values: readonly unknown[]) => {
    if (values.length === 0) throw databaseErrors.create("MILLRACE_SQL_EMPTY_LIST", {});
    return new Sql(["(", ...Array.from({ length: values.length - 1 }, () => ", "), ")"], values);
  },
  json: (value: unknown) => JSON.stringify(value),
  empty: new Sql([""], []),
});
