// One page of a list by keyset: the rows after a position, found by index at any depth, and the cursors that lead on from there.
// See docs/keyset-pages.md.

import { type Clock, systemClock } from "../../core/index.ts";
import { databaseErrors } from "../errors.ts";
import type { Queryable } from "../queryable.ts";
import { Sql } from "../sql.ts";
import { type ColumnFacts, FactsCache } from "./column-facts.ts";
import { type CursorList, type Position, cursorKey, readCursor, writeCursor } from "./cursor.ts";
import type { KeysetRequest, Page } from "./request.ts";
import { type Order, type OrderColumn, parseOrder, reversed } from "./order.ts";
import { type PageText, pageText, parameterMark, planRowsFor, tiesText } from "./statement.ts";

/** Far above what an API should answer in one piece, and small enough to hold in memory; for more there is db.export. */
const maxLimit = 10_000;

/** What is kept per signing secret, and so per database: see pageOf. */
interface Pager {
  readonly key: Buffer;
  readonly facts: FactsCache;
  readonly texts: Map<string, PageText>;
}

const pagers = new WeakMap<Uint8Array, Pager>();

/** A list has a few forms: two directions, a power of two of rows, and which values are NULL. Bounds code that composes without end. */
const maxTexts = 2_000;

/** A row's values as they come from the page's statement: its own columns, then the texts of its order columns. */
type KeyedRow = readonly unknown[];

/** SQLSTATEs with which PostgreSQL refuses a parameter's text for its type: invalid text, date, field overflow, number out of range. */
const refusedValue: ReadonlySet<unknown> = new Set(["22P02", "22007", "22008", "22003"]);

/**
 * The page of `statement`'s rows that `request` asks for. `secret` signs the cursors; one object per database, for what is known
 * of its columns is kept by it. Usually called as db.page() or tx.page().
 * Cost: one statement, plus two short ones per minute and list, to ask which columns can be NULL.
 * @throws MILLRACE_CURSOR_* for a cursor that is not one of this list: start again from the first page
 * @throws MILLRACE_KEYSET_* for an order or limit that cannot work
 */
export async function pageOf<Row>(
  queryable: Queryable,
  request: KeysetRequest,
  statement: Sql<Row>,
  secret: Uint8Array,
  clock: Clock = systemClock,
): Promise<Page<Row>> {
  const { limit } = request;
  if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) {
    throw databaseErrors.create("MILLRACE_KEYSET_LIMIT_INVALID", { limit: String(limit), max: maxLimit });
  }
  const order = parseOrder(request.orderBy);
  let pager = pagers.get(secret);
  if (!pager) {
    pager = { key: cursorKey(secret), facts: new FactsCache(clock), texts: new Map() };
    pagers.set(secret, pager);
  }
  const list: CursorList = { order: order.signature, scope: request.scope ?? "" };
  const position: Position =
    request.cursor === undefined ? { backward: false, values: undefined } : readCursor(pager.key, list, request.cursor);

  const baseValues: unknown[] = [];
  const base = statement.renderWith((value) => {
    baseValues.push(value);
    return parameterMark;
  });
  const facts = await pager.facts.get(queryable, base, baseValues, order);
  const { rows, names } = await readRows(queryable, pager.texts, base, baseValues, order, facts, position, limit + 1);

  const more = rows.length > limit;
  if (more) await assertUnique(queryable, base, baseValues, order, facts, rows[limit - 1]!, rows[limit]!);
  if (more) rows.pop();
  if (position.backward) rows.reverse();

  const cursorAt = (backward: boolean, row: KeyedRow | undefined): string =>
    writeCursor(pager.key, list, { backward, values: row && keysOf(row, order) });
  const known = edges(position, more);
  const page = {
    next: known.next ? cursorAt(false, rows.at(-1)) : null,
    previous: known.previous ? cursorAt(true, rows[0]) : null,
  };
  return { data: rows.map((row) => withoutKeys(row, names)) as Row[], page };
}

/**
 * Whether there is a page on either side. On the side where the page was read to, one row more than asked for was looked for, so
 * it is known. On the side that the cursor came from, its row is taken to be still there: asking would cost an index descent
 * on every page, to save a client one empty page in a rare race. An empty page leads to the start or the end of the list.
 */
function edges(position: Position, more: boolean): { readonly next: boolean; readonly previous: boolean } {
  const cameFromRow = position.values !== undefined;
  return position.backward ? { next: cameFromRow, previous: more } : { next: more, previous: cameFromRow };
}

const keysOf = (row: KeyedRow, order: Order): (string | null)[] => row.slice(-order.columns.length) as (string | null)[];

/** The row as the caller knows it. Built from values: an object from which properties are deleted is slow ever after. */
function withoutKeys(row: KeyedRow, names: readonly string[]): Record<string, unknown> {
  const own: Record<string, unknown> = {};
  for (let i = 0; i < names.length; i++) own[names[i]!] = row[i];
  return own;
}

async function readRows(
  queryable: Queryable,
  texts: Map<string, PageText>,
  base: string,
  baseValues: readonly unknown[],
  order: Order,
  facts: ColumnFacts,
  { backward, values }: Position,
  rows: number,
): Promise<{ readonly rows: KeyedRow[]; readonly names: readonly string[] }> {
  const planRows = planRowsFor(rows);
  const nulls = values?.map((value) => (value === null ? "0" : "1")).join("") ?? "";
  const notNull = facts.notNull.map((is) => (is ? "1" : "0")).join("");
  const form = `${backward ? "<" : ">"}${planRows}|${nulls}|${notNull}|${order.signature}\n${base}`;
  let text = texts.get(form);
  if (!text) {
    const columns: readonly OrderColumn[] = backward ? reversed(order.columns) : order.columns;
    text = pageText(base, { columns, notNull: facts.notNull, isNull: values?.map((value) => value === null), planRows });
    if (texts.size >= maxTexts) texts.delete(texts.keys().next().value!);
    texts.set(form, text);
  }
  const parameters = text.slots.map((slot) => (slot === "rows" ? rows : values![slot]));
  try {
    const statement = new Sql<KeyedRow>(text.strings, [...baseValues, ...parameters]);
    const result = await queryable.query(statement, { rowMode: "array" });
    return { rows: result.rows, names: result.fields.slice(0, -order.columns.length).map((field) => field.name) };
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message: string };
    // PostgreSQL quotes what it refuses, which tells the cursor's values from the statement's own.
    if (refusedValue.has(code) && values?.some((value) => value !== null && message.includes(`"${value}"`))) {
      throw databaseErrors.create("MILLRACE_CURSOR_OUTDATED", { reason: "the list's columns have changed since" }, error);
    }
    throw error;
  }
}

/**
 * A page that ends between two rows which the order cannot tell apart would lose the second one: nothing comes after itself.
 * Where different texts can be equal values, PostgreSQL is asked.
 */
async function assertUnique(
  queryable: Queryable,
  base: string,
  baseValues: readonly unknown[],
  order: Order,
  facts: ColumnFacts,
  last: KeyedRow,
  beyond: KeyedRow,
): Promise<void> {
  const lastKeys = keysOf(last, order);
  const beyondKeys = keysOf(beyond, order);
  const differs = (i: number) => lastKeys[i] !== beyondKeys[i];
  const told = (i: number) => facts.exactText[i] || lastKeys[i] === null || beyondKeys[i] === null;
  const indexes = [...lastKeys.keys()];
  if (indexes.some((i) => differs(i) && told(i))) return;
  if (indexes.some(differs)) {
    const { strings, slots } = tiesText(
      base,
      order.columns,
      lastKeys.map((key) => key === null),
    );
    const keys = slots.map((slot) => lastKeys[slot as number]);
    const { ties } = await queryable.one<{ ties: number }>(new Sql(strings, [...baseValues, ...keys]));
    if (ties < 2) return;
  }
  throw databaseErrors.create("MILLRACE_KEYSET_ORDER_NOT_UNIQUE", { order: order.columns.map((column) => column.name).join(", ") });
}
