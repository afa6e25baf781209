// The SQL of one keyset page. Every row after a position is found by index ranges that are read one after the other and only
// as far as the page needs; docs/decisions/keyset.md has the plans and what was rejected.
//
// The rows after (x, y, z) in the order (a, b, c), longest common prefix first:
//
//   a = x and b = y and c after z        c after z   is   c > z, then c is null when NULLs come last
//   a = x and b after y                              or   c is not null, when z is NULL and NULLs come first
//   a after x                                        or   nothing, when z is NULL and NULLs come last
//
// Neighbours that have one direction and cannot be NULL are compared as one row value, (a, b) > (x, y): one range instead of
// two. An order that is wholly so needs a single range.

import { type OrderColumn, maxOrderColumns, orderByText } from "./order.ts";

/** Stands for a parameter in texts under construction: PostgreSQL's text cannot contain it. */
export const parameterMark = "\0";

/** Which parameter stands where behind the base statement's own: a column's cursor value by index, or the number of rows. */
export type Slot = number | "rows";

/** The pieces of a page's statement between its parameters, and what the parameters behind the base's own are. */
export interface PageText {
  readonly strings: readonly string[];
  readonly slots: readonly Slot[];
}

/** The last columns of a page's statement: the texts of the order's columns. */
const keyColumns: readonly string[] = Array.from({ length: maxOrderColumns }, (_, i) => `millrace:key:${i}`);

/** One condition with the cursor values that it takes, in order of appearance. */
interface Condition {
  readonly text: string;
  readonly slots: readonly number[];
}

/** Neighbouring columns that are compared as one. */
interface Run {
  readonly columns: readonly OrderColumn[];
  /** Index of the first column in the order. */
  readonly start: number;
  readonly mayBeNull: boolean;
}

function runsOf(columns: readonly OrderColumn[], notNull: readonly boolean[]): Run[] {
  const runs: Run[] = [];
  for (const [i, column] of columns.entries()) {
    const last = runs.at(-1);
    if (last && !last.mayBeNull && notNull[i] && last.columns[0]!.descending === column.descending) {
      runs[runs.length - 1] = { ...last, columns: [...last.columns, column] };
    } else {
      runs.push({ columns: [column], start: i, mayBeNull: !notNull[i] });
    }
  }
  return runs;
}

const slotsOf = (run: Run): number[] => run.columns.map((_, i) => run.start + i);
const namesOf = (run: Run): string[] => run.columns.map((column) => `q.${column.quoted}`);

/** "The same as the position" in one run. */
function tie(run: Run, isNull: readonly boolean[]): Condition {
  if (isNull[run.start]) return { text: `${namesOf(run)[0]!} is null`, slots: [] };
  return {
    text: namesOf(run)
      .map((name) => `${name} = ${parameterMark}`)
      .join(" and "),
    slots: slotsOf(run),
  };
}

/** "After the position" in one run, as ranges in the order in which they follow each other. */
function after(run: Run, isNull: readonly boolean[]): Condition[] {
  const [column] = run.columns;
  const names = namesOf(run);
  if (isNull[run.start]) return column!.nullsFirst ? [{ text: `${names[0]!} is not null`, slots: [] }] : [];
  const operator = column!.descending ? "<" : ">";
  const range: Condition =
    names.length === 1
      ? { text: `${names[0]!} ${operator} ${parameterMark}`, slots: [run.start] }
      : { text: `(${names.join(", ")}) ${operator} (${names.map(() => parameterMark).join(", ")})`, slots: slotsOf(run) };
  return run.mayBeNull && !column!.nullsFirst ? [range, { text: `${names[0]!} is null`, slots: [] }] : [range];
}

/** The disjoint ranges that together are everything after the position, in order. Never read past the end: may be empty. */
function rangesAfter(columns: readonly OrderColumn[], notNull: readonly boolean[], isNull: readonly boolean[]): Condition[] {
  // A NULL where the catalogue promises none was read before the promise was made: such a column is treated as nullable.
  const runs = runsOf(
    columns,
    notNull.map((is, i) => is && !isNull[i]),
  );
  const ranges: Condition[] = [];
  for (let last = runs.length - 1; last >= 0; last--) {
    const ties = runs.slice(0, last).map((run) => tie(run, isNull));
    for (const range of after(runs[last]!, isNull)) {
      const parts = [...ties, range];
      ranges.push({ text: parts.map((part) => part.text).join(" and "), slots: parts.flatMap((part) => part.slots) });
    }
  }
  return ranges;
}

/** What decides the text of a page beside its base statement. */
export interface PageForm {
  readonly columns: readonly OrderColumn[];
  readonly notNull: readonly boolean[];
  /** Which cursor values are NULL; undefined without a position: from the start. */
  readonly isNull: readonly boolean[] | undefined;
  /** At most this many rows, as the planner is told. The exact number is a parameter. */
  readonly planRows: number;
}

/**
 * Builds the text around `base`, whose parameters are marked. Reads at most "rows" rows of it.
 * - `not materialized`: every range is planned as if the base stood in its place, and the base's parameters exist once.
 * - Two limits: the planner must see a number, or a generic plan assumes a tenth of the table and sorts it; but with the exact
 *   number in the text, every page size would be a statement of its own to prepare.
 * - A range reads what those before it left over; with nothing left it is not even started.
 */
export function pageText(base: string, form: PageForm): PageText {
  const { columns, notNull, isNull, planRows } = form;
  const keys = columns.map(({ quoted }, i) => `q.${quoted}::text as "${keyColumns[i]}"`).join(", ");
  const ranges = isNull === undefined ? [{ text: "true", slots: [] }] : rangesAfter(columns, notNull, isNull);
  // After a NULL in a last column with NULLs last nothing follows; the statement still says which columns there are.
  if (ranges.length === 0) ranges.push({ text: "false", slots: [] });

  const open = (range: Condition) =>
    `(select q.*, ${keys} from q where ${range.text} order by ${orderByText(columns, "q")} limit ${planRows})`;
  const slots: Slot[] = ranges.flatMap((range) => [...range.slots, "rows" as const]);
  // The line break ends a comment that the base may end with.
  let text = `with q as not materialized (${base}\n)`;
  if (ranges.length === 1) {
    text += ` select * from ${open(ranges[0]!)} as p order by ${orderByText(columns, "p")} limit ${parameterMark}`;
  } else {
    for (const [i, range] of ranges.entries()) {
      const before = ranges.slice(0, i).map((_, j) => ` - (select count(*) from r${j})`);
      text += `, r${i} as materialized (select * from ${open(range)} as r limit ${parameterMark}${before.join("")})`;
    }
    const union = ranges.map((_, i) => `select * from r${i}`).join(" union all ");
    text += ` select * from (${union}) as p order by ${orderByText(columns, "p")}`;
  }
  return { strings: text.split(parameterMark), slots };
}

/** The text that asks which columns the order is made of, without reading a row. */
export const describeText = (base: string, columns: readonly OrderColumn[]): readonly string[] =>
  `with q as not materialized (${base}\n) select ${columns.map(({ quoted }) => `q.${quoted}`).join(", ")} from q limit 0`.split(
    parameterMark,
  );

/** The text that counts, up to two, the rows equal to a position in every column of the order. */
export function tiesText(base: string, columns: readonly OrderColumn[], isNull: readonly boolean[]): PageText {
  const slots: Slot[] = [];
  const conditions = columns.map(({ quoted }, i) => {
    if (isNull[i]) return `q.${quoted} is null`;
    slots.push(i);
    return `q.${quoted} = ${parameterMark}`;
  });
  const text = `with q as not materialized (${base}\n) select count(*)::int as ties from (select from q where ${conditions.join(" and ")} limit 2) as t`;
  return { strings: text.split(parameterMark), slots };
}

/** The number of rows that the planner is told for a page of `rows`: the next power of two, so that few texts exist. */
export const planRowsFor = (rows: number): number => 2 ** Math.ceil(Math.log2(rows));
