// What a log row's table means for dependencies: the names that it touches, and the types of the columns that are followed there.

import type { Session } from "../session.ts";
import { type TableHashes, createTableHashes } from "../commit-builder.ts";

/** A table whose dependencies a write touches. */
export interface Target {
  /** Whether it is the one by which dependencies name the table; the others inherit from it. */
  readonly named: boolean;
  readonly hashes: TableHashes;
  /** Followed columns and their types. */
  readonly columns: ReadonlyMap<string, number>;
}

/**
 * For each table that has written log rows: its topmost parent when it is part of a partitioned table, because that is what statements
 * and dependencies name; otherwise itself and what inherits from it, because a statement on it reaches those rows too.
 */
const targetsQuery = `
  with recursive given as (
    select c.oid as relation, coalesce(pg_partition_root(c.oid)::oid, c.oid) as target, pg_partition_root(c.oid) is null as alone
    from pg_class c where c.oid = any ($1::oid[])
  ), reached as (
    select relation, target, alone from given
    union
    select r.relation, i.inhrelid, true from reached r join pg_inherits i on i.inhparent = r.target where r.alone
  )
  select r.relation::text, r.target = coalesce(pg_partition_root(r.relation)::oid, r.relation) as named, n.nspname::text as schema, c.relname::text as name,
    coalesce((select json_object_agg(a.attname, a.atttypid::bigint) from millrace.watched w
       join pg_attribute a on a.attrelid = w.relation and a.attname = any (w.columns) and a.attnum > 0 and not a.attisdropped
       where w.relation = c.oid), '{}') as columns
  from reached r join pg_class c on c.oid = r.target join pg_namespace n on n.oid = c.relnamespace`;

interface TargetRow {
  readonly relation: string;
  readonly named: boolean;
  readonly schema: string;
  readonly name: string;
  readonly columns: Readonly<Record<string, number>>;
}

/** Remembers the targets of relations until it is told to forget. */
export class Relations {
  readonly #targets = new Map<string, readonly Target[]>();
  #outdated = false;

  /** Finds out about those of `relations` (oids) that are not known yet. */
  async learn(session: Session, relations: Iterable<string>): Promise<void> {
    if (this.#outdated) this.forget();
    const unknown = [...new Set(relations)].filter((relation) => !this.#targets.has(relation));
    if (unknown.length === 0) return;
    const rows = await session.query<TargetRow>(targetsQuery, [unknown]);
    for (const [relation, found] of Map.groupBy(rows, (row) => row.relation)) {
      const targets = found.map(({ named, schema, name, columns }) => ({
        named,
        hashes: createTableHashes(schema, name),
        columns: new Map(Object.entries(columns)),
      }));
      this.#targets.set(relation, targets);
    }
  }

  /** Undefined: there is no such table any more. */
  targetsOf(relation: string): readonly Target[] | undefined {
    return this.#targets.get(relation);
  }

  /** After DDL. */
  forget(): void {
    this.#targets.clear();
    this.#outdated = false;
  }

  /** At the next learn(): what is being used now stays. */
  forgetSoon(): void {
    this.#outdated = true;
  }
}
