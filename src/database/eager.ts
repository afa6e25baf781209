// Loading what belongs to rows that are there already, without a statement per row: one statement for all of them, or JSON made
// by the statement itself. See docs/eager-loading.md.

import { databaseErrors } from "./errors.ts";
import { orderByText, parseOrder } from "./keyset/order.ts";
import type { QueryOptions, Queryable } from "./queryable.ts";
import { Sql, sql } from "./sql.ts";

/** How rows belong to parents. */
export interface Relation<Key extends string, As extends string, By extends string> {
  /** The parent's column that is matched. A parent in which it is NULL has nothing. */
  readonly key: Key;
  /** The property of the result that holds what was loaded. */
  readonly as: As;
  /** The loaded rows' column that equals the parent's `key`. */
  readonly by: By;
}

/** How many rows may belong to a parent. */
export interface ManyRelation<Key extends string, As extends string, By extends string> extends Relation<Key, As, By> {
  /** The order of a parent's rows, as in a keyset page: `["created_at desc", "id desc"]`. Default: the statement's own. */
  readonly orderBy?: readonly string[];
  /** At most so many rows per parent, the first in `orderBy`, which is then needed. Default: all. At least 1. */
  readonly limitPerParent?: number;
}

/** A parent with the rows that belong to it. */
export type WithMany<Parent, As extends string, Child> = Omit<Parent, As> & { [Property in As]: Child[] };

/** A parent with the row that belongs to it. */
export type WithOne<Parent, As extends string, Child> = Omit<Parent, As> & { [Property in As]: Child | null };

/** bigint comes from the driver as text and integer as a number: both sides of a relation are compared as text. */
const comparable = (value: unknown): string => (value instanceof Date ? value.toISOString() : String(value));

function keysOf<Parent extends object>(parents: readonly Parent[], key: keyof Parent): NonNullable<Parent[keyof Parent]>[] {
  const keys = new Map<string, NonNullable<Parent[keyof Parent]>>();
  for (const parent of parents) {
    const value = parent[key];
    if (value === undefined)
      throw databaseErrors.create("MILLRACE_RELATION_COLUMN_MISSING", { column: String(key), side: "parent rows" });
    if (value !== null) keys.set(comparable(value), value);
  }
  return [...keys.values()];
}

async function loadByKey<Child extends object>(
  queryable: Queryable,
  statement: Sql<Child>,
  by: keyof Child,
  options: QueryOptions | undefined,
): Promise<Map<string, Child[]>> {
  const children = new Map<string, Child[]>();
  for (const child of await queryable.many(statement, options)) {
    const value = child[by];
    if (value === undefined)
      throw databaseErrors.create("MILLRACE_RELATION_COLUMN_MISSING", { column: String(by), side: "loaded rows" });
    const key = comparable(value);
    const siblings = children.get(key);
    if (siblings) siblings.push(child);
    else children.set(key, [child]);
  }
  return children;
}

/** The statement's rows in the relation's order, as many per parent as it allows. */
function shaped<Child>(statement: Sql<Child>, relation: ManyRelation<string, string, string>): Sql<Child> {
  const { by, orderBy, limitPerParent } = relation;
  if (orderBy === undefined) {
    if (limitPerParent === undefined) return statement;
    throw databaseErrors.create("MILLRACE_RELATION_LIMIT_INVALID", {
      limit: String(limitPerParent),
      reason: "it needs orderBy, to say which rows come first",
    });
  }
  const order = new Sql([orderByText(parseOrder(orderBy).columns, "q")], []);
  if (limitPerParent === undefined) return sql<Child>`select q.* from (${statement}\n) as q order by ${order}`;
  if (!Number.isInteger(limitPerParent) || limitPerParent < 1) {
    throw databaseErrors.create("MILLRACE_RELATION_LIMIT_INVALID", {
      limit: String(limitPerParent),
      reason: "it must be a whole number of at least 1",
    });
  }
  const parent = sql.identifier(by);
  return sql<Child>`
    select q.* from (select q.*, row_number() over (partition by q.${parent} order by ${order}) as "millrace:place" from (${statement}\n) as q) as q
    where q."millrace:place" <= ${limitPerParent} order by ${order}`;
}

/**
 * Loads the rows that belong to `parents`: one statement for all parents, none when there are none. `statement` gets the
 * parents' keys, each once. Returns new objects in the parents' order; a parent without rows has an empty array.
 * @throws MILLRACE_RELATION_COLUMN_MISSING when `key` or `by` is not in the rows
 */
export async function loadMany<
  Parent extends object,
  Key extends keyof Parent & string,
  As extends string,
  By extends string,
  Child extends Readonly<Record<By, unknown>>,
>(
  queryable: Queryable,
  parents: readonly Parent[],
  relation: ManyRelation<Key, As, By>,
  statement: (keys: NonNullable<Parent[Key]>[]) => Sql<Child>,
  options?: QueryOptions,
): Promise<WithMany<Parent, As, Child>[]> {
  const keys = keysOf(parents, relation.key) as NonNullable<Parent[Key]>[];
  const limited = relation.limitPerParent !== undefined;
  const children =
    keys.length === 0
      ? new Map<string, Child[]>()
      : await loadByKey(queryable, shaped(statement(keys), relation), relation.by, options);
  if (limited) {
    for (const siblings of children.values()) {
      for (const child of siblings) delete (child as Record<string, unknown>)["millrace:place"];
    }
  }
  // Object spread cannot express a computed key's literal type.
  return parents.map((parent) => ({
    ...parent,
    [relation.as]: children.get(comparable(parent[relation.key])) ?? [],
  })) as unknown as WithMany<Parent, As, Child>[];
}

/**
 * Loads the one row that each parent refers to: one statement for all parents, none when there are none. Returns new objects in
 * the parents' order; a parent that refers to nothing has null. Parents that refer to the same row share one object.
 * @throws MILLRACE_RELATION_COLUMN_MISSING, MILLRACE_RELATION_NOT_UNIQUE when several rows belong to one key
 */
export async function loadOne<
  Parent extends object,
  Key extends keyof Parent & string,
  As extends string,
  By extends string,
  Child extends Readonly<Record<By, unknown>>,
>(
  queryable: Queryable,
  parents: readonly Parent[],
  relation: Relation<Key, As, By>,
  statement: (keys: NonNullable<Parent[Key]>[]) => Sql<Child>,
  options?: QueryOptions,
): Promise<WithOne<Parent, As, Child>[]> {
  const keys = keysOf(parents, relation.key) as NonNullable<Parent[Key]>[];
  const children =
    keys.length === 0 ? new Map<string, Child[]>() : await loadByKey(queryable, statement(keys), relation.by, options);
  return parents.map((parent) => {
    const found = children.get(comparable(parent[relation.key]));
    if (found && found.length > 1)
      throw databaseErrors.create("MILLRACE_RELATION_NOT_UNIQUE", { as: relation.as, by: relation.by, rows: found.length });
    return { ...parent, [relation.as]: found?.[0] ?? null };
  }) as unknown as WithOne<Parent, As, Child>[];
}

/**
 * The rows of a sub-select as one JSON array, `[]` when there are none; for a select list, so that children come in the parents'
 * own statement. In JSON dates are text and bigint is a number.
 */
export const jsonArray = (rows: Sql): Sql => sql`coalesce((select json_agg(j) from (${rows}\n) as j), '[]'::json)`;

/** The row of a sub-select as one JSON object, null when there is none; PostgreSQL refuses several (21000). */
export const jsonObject = (row: Sql): Sql => sql`(select row_to_json(j) from (${row}\n) as j)`;
