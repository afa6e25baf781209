// The order of a keyset page: `"created_at desc"`, `"temperature desc nulls last"`, read once and turned into what the SQL is
// made of. See docs/keyset-pages.md.

import { databaseErrors } from "../errors.ts";

/** One column of an order, its defaults filled in. */
export interface OrderColumn {
  readonly name: string;
  /** The quoted name. The name itself is a plain identifier, so there is nothing to escape. */
  readonly quoted: string;
  readonly descending: boolean;
  readonly nullsFirst: boolean;
}

/** A whole order, most significant column first. */
export interface Order {
  readonly columns: readonly OrderColumn[];
  /** The order in one canonical spelling, the same for every way of writing it. */
  readonly signature: string;
}

/** More columns than any index has use for; each one beyond the first may cost a page one more index descent. */
export const maxOrderColumns = 8;

const entryPattern = /^\s*([A-Za-z_][A-Za-z0-9_]{0,62})(?:\s+(asc|desc))?(?:\s+nulls\s+(first|last))?\s*$/i;

function readColumn(entry: string): OrderColumn {
  const match = entryPattern.exec(entry);
  if (!match)
    throw databaseErrors.create("MILLRACE_KEYSET_ORDER_INVALID", {
      entry,
      reason: "it is not a column with asc or desc, nulls first or nulls last",
    });
  const name = match[1]!;
  const descending = match[2]?.toLowerCase() === "desc";
  // PostgreSQL sorts NULL as larger than everything: last when ascending, first when descending.
  const nullsFirst = match[3] === undefined ? descending : match[3].toLowerCase() === "first";
  return { name, quoted: `"${name}"`, descending, nullsFirst };
}

const orders = new WeakMap<readonly string[], Order>();

/**
 * Reads `orderBy`. An array is read once in its life, so keep it where it is declared and do not change it.
 * @throws MILLRACE_KEYSET_ORDER_INVALID
 */
export function parseOrder(orderBy: readonly string[]): Order {
  let order = orders.get(orderBy);
  if (order) return order;
  if (orderBy.length === 0)
    throw databaseErrors.create("MILLRACE_KEYSET_ORDER_INVALID", { entry: "", reason: "an order needs at least one column" });
  if (orderBy.length > maxOrderColumns) {
    throw databaseErrors.create("MILLRACE_KEYSET_ORDER_INVALID", {
      entry: orderBy.join(", "),
      reason: `an order has at most ${maxOrderColumns} columns`,
    });
  }
  const columns = orderBy.map(readColumn);
  for (const [i, column] of columns.entries()) {
    if (columns.findIndex((other) => other.name === column.name) < i) {
      throw databaseErrors.create("MILLRACE_KEYSET_ORDER_INVALID", {
        entry: orderBy[i]!,
        reason: "the column is in the order already",
      });
    }
  }
  const signature = columns
    .map((c) => `${c.name} ${c.descending ? "desc" : "asc"} nulls ${c.nullsFirst ? "first" : "last"}`)
    .join(", ");
  order = { columns, signature };
  orders.set(orderBy, order);
  return order;
}

/** The same columns the other way round, NULLs included. */
export const reversed = (columns: readonly OrderColumn[]): readonly OrderColumn[] =>
  columns.map((column) => ({ ...column, descending: !column.descending, nullsFirst: !column.nullsFirst }));

/** What follows ORDER BY, for columns of `relation`. The default place of NULLs is left out, as people write it. */
export const orderByText = (columns: readonly OrderColumn[], relation: string): string =>
  columns
    .map(({ quoted, descending, nullsFirst }) => {
      const nulls = nullsFirst === descending ? "" : nullsFirst ? " nulls first" : " nulls last";
      return `${relation}.${quoted}${descending ? " desc" : ""}${nulls}`;
    })
    .join(", ");
