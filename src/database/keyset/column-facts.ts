// What PostgreSQL's catalogue says about the columns of an order: whether one can be NULL, and whether equal values have equal
// text. Asked once per statement and minute; what cannot be proven is taken for the worse. See docs/decisions/keyset.md.

import type { FieldDef } from "pg";
import type { Clock } from "../../core/index.ts";
import { databaseErrors } from "../errors.ts";
import { unobserved } from "../observer.ts";
import type { Queryable } from "../queryable.ts";
import { Sql, sql } from "../sql.ts";
import type { Order } from "./order.ts";
import { describeText } from "./statement.ts";

/** What is known of the order's columns, by index. */
export interface ColumnFacts {
  /** Proven by attnotnull of the table's column that the result's column is. */
  readonly notNull: readonly boolean[];
  /** Different texts mean different values. Not so for numeric (1.0 and 1.00), floats (0 and -0), case-insensitive collations … */
  readonly exactText: readonly boolean[];
}

/** ALTER TABLE … DROP NOT NULL in a running system is noticed within this time; asking costs two short statements. */
const trustMs = 60_000;
/** Statement texts come from the source, so there are few; this bounds code that composes without end. */
const maxEntries = 1_000;

/** bool, int8, int2, int4, oid, date, time, timestamp, timestamptz, uuid, bytea: one text per value. */
const exactTypes: ReadonlySet<number> = new Set([16, 20, 21, 23, 26, 1082, 1083, 1114, 1184, 2950, 17]);
/** text, varchar, name, "char": one text per value when the collation is deterministic. */
const collatedTypes: ReadonlySet<number> = new Set([25, 1043, 19, 18]);

/** An outer join or a grouping set makes a NOT NULL column NULL while PostgreSQL still names the column it comes from. */
const mayAddNulls = /\b(left|right|full|rollup|cube|grouping)\b/i;

interface CatalogueRow {
  readonly notNull: boolean;
  readonly deterministic: boolean;
}

const undefinedColumn = "42703";

/** The facts of every statement that was paged lately, for one database. */
export class FactsCache {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { readonly facts: ColumnFacts; readonly expiresAtMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The facts of `order`'s columns in `base` (parameters marked), whose parameters are `values`. Callers that miss at the same
   * time each ask for themselves: one that is cancelled must not fail another.
   */
  async get(queryable: Queryable, base: string, values: readonly unknown[], order: Order): Promise<ColumnFacts> {
    const key = `${order.signature}\n${base}`;
    const known = this.#entries.get(key);
    if (known && known.expiresAtMs > this.#clock.monotonic()) return known.facts;
    const facts = await unobserved(() => readFacts(queryable, base, values, order));
    this.#entries.delete(key);
    if (this.#entries.size >= maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, { facts, expiresAtMs: this.#clock.monotonic() + trustMs });
    return facts;
  }
}

async function readFacts(queryable: Queryable, base: string, values: readonly unknown[], order: Order): Promise<ColumnFacts> {
  const fields = await describe(queryable, base, values, order);
  const catalogue = await queryable.many<CatalogueRow>(sql`
    select coalesce(a.attnotnull, false) as "notNull", coalesce(a.attcollation = 0 or c.collisdeterministic, false) as "deterministic"
    from unnest(${fields.map((field) => field.tableID)}::oid[], ${fields.map((field) => field.columnID)}::int2[])
      with ordinality as f (relation, attribute, i)
    left join pg_catalog.pg_attribute a on a.attrelid = f.relation and a.attnum = f.attribute
    left join pg_catalog.pg_collation c on c.oid = a.attcollation
    order by f.i`);
  const outer = mayAddNulls.test(base);
  return {
    notNull: catalogue.map((column) => column.notNull && !outer),
    exactText: catalogue.map((column, i) => {
      const type = fields[i]!.dataTypeID;
      return exactTypes.has(type) || (collatedTypes.has(type) && column.deterministic);
    }),
  };
}

async function describe(queryable: Queryable, base: string, values: readonly unknown[], order: Order): Promise<FieldDef[]> {
  try {
    return (await queryable.query(new Sql(describeText(base, order.columns), values))).fields;
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message: string };
    const missing = code === undefinedColumn && order.columns.find(({ name }) => message.includes(`q.${name} `));
    if (missing) throw databaseErrors.create("MILLRACE_KEYSET_COLUMN_UNKNOWN", { column: missing.name }, error);
    throw error;
  }
}
