// The log table as the relay reads it: what is visible now and was not before, turned into commits.

import { freshnessErrors } from "../../errors.ts";
import { type FeedCommit, dependencyNames } from "../../feed.ts";
import type { CommitBuilder } from "../commit-builder.ts";
import type { Session } from "../session.ts";
import type { CanonicalValue, Followed } from "../source.ts";
import type { Relations, Target } from "./relations.ts";
import { changeKinds, maxValueLength, maxValuesListed } from "./schema.ts";
import { type Snapshot, parseSnapshot } from "./snapshot.ts";

/** A row of millrace.changes. */
export interface Change {
  readonly xid: string;
  readonly kind: string;
  /** The oid of the table that the statement named; "0" where there is none. */
  readonly relation: string;
  /** Values by column; null: any. For invalidate(), hashes under "hashes". */
  readonly touched: Readonly<Record<string, readonly string[] | null>> | null;
}

/** Rows read one by one; of more at once only transactions and tables are. A second of 5,000 writes. */
const maxRows = 5_000;

/** Characters of values read at once, all rows together: rows that are longer than their share count as "any value". */
const maxCharacters = 20_000_000;

/** Transactions and tables in one reading beyond which it is cheaper to begin anew than to name what they touched. */
export const maxBacklog = 100_000;

/**
 * $1, $2: xmax and the transactions under way of the snapshot before. What is below xmax and was not under way was seen then, or
 * rolled back. So a transaction that stays open costs one look-up, however much is written meanwhile.
 */
const unseen = "(xid >= $1::xid8 or xid = any ($2::xid8[]))";

const rowsQuery = `
  with found as materialized (select xid, kind, relation, touched from millrace.changes where ${unseen} limit ${maxRows + 1})
  select pg_current_snapshot()::text as snapshot, f.xid::text, f.kind, f.relation::text,
    case when f.kind <> '${changeKinds.write}'
      or length(f.touched::text) * (select count(*) from found) <= ${maxCharacters} then f.touched end as touched
  from (select) always left join found f on true`;

const manyQuery = `
  with written as materialized (
    select distinct xid, relation from millrace.changes where ${unseen} and kind = '${changeKinds.write}' limit ${maxBacklog + 1}
  ), found as (
    select xid, '${changeKinds.write}'::"char" as kind, relation, null::json as touched from written
    union all (select xid, kind, relation, touched from millrace.changes where ${unseen} and kind <> '${changeKinds.write}'
      limit ${maxBacklog + 1})
  )
  select pg_current_snapshot()::text as snapshot, f.xid::text, f.kind, f.relation::text, f.touched
  from (select) always left join found f on true`;

type Row = { readonly snapshot: string } & (Change | { readonly xid: null });

/**
 * The rows that are visible now and were not in `before`, with the snapshot that both questions were answered in.
 * @throws MILLRACE_FEED_SOURCE_UNUSABLE when there are too many: prepare() then begins anew.
 */
export async function readChanges(session: Session, before: Snapshot): Promise<{ changes: Change[]; snapshot: Snapshot }> {
  const values = [String(before.xmax), before.underWay];
  let rows = await session.query<Row>(rowsQuery, values);
  // Nothing of the first answer is used: the second has a later snapshot, and sees all of it again.
  if (rows.length > maxRows) rows = await session.query<Row>(manyQuery, values);
  if (rows.length > maxBacklog) {
    throw freshnessErrors.create("MILLRACE_FEED_SOURCE_UNUSABLE", {
      source: "triggers",
      problem: `more than ${maxBacklog} changes have come together in millrace.changes. It begins anew.`,
    });
  }
  const changes = rows.filter((row): row is Change & { readonly snapshot: string } => row.xid !== null);
  return { changes, snapshot: parseSnapshot(rows[0]!.snapshot) };
}

/** What `changes` come to under `number`. Learns about tables on `session`; one that is gone counts as everything. */
export async function commitsOf(
  changes: readonly Change[],
  number: number,
  tools: {
    readonly session: Session;
    readonly relations: Relations;
    readonly builder: CommitBuilder;
    readonly canonicalValue: CanonicalValue;
  },
): Promise<{ commits: FeedCommit[]; followed: Followed[] }> {
  const { session, relations, builder, canonicalValue } = tools;
  // Names and types as they are after the DDL and the following that these rows tell of.
  if (changes.some(({ kind }) => kind === changeKinds.ddl || kind === changeKinds.followed)) relations.forget();
  const named = changes.filter(({ kind }) => kind === changeKinds.write || kind === changeKinds.followed);
  await relations.learn(
    session,
    named.map(({ relation }) => relation),
  );

  const commits: FeedCommit[] = [];
  const followed: Followed[] = [];
  for (const [xid, rows] of Map.groupBy(changes, (change) => change.xid)) {
    for (const { kind, relation, touched } of rows) {
      if (kind === changeKinds.ddl) builder.touchEverything();
      else if (kind === changeKinds.invalidate) builder.touchHashes(Uint32Array.from(touched?.["hashes"] ?? [], Number));
      else {
        const targets = relations.targetsOf(relation);
        if (kind === changeKinds.followed) {
          const target = targets?.find(({ named }) => named);
          if (!target) continue;
          const table = dependencyNames.table(target.hashes.schema, target.hashes.name);
          for (const column of [undefined, ...Object.keys(touched ?? {})]) followed.push({ table, column, number });
        } else if (!targets) builder.touchEverything();
        else for (const target of targets) touchTarget(builder, target, touched, canonicalValue);
      }
    }
    if (!builder.isEmpty) commits.push(builder.take(number, BigInt(xid)));
  }
  return { commits, followed };
}

/** One statement's row. Whatever is not listed, or listed incompletely, counts as any value. */
function touchTarget(builder: CommitBuilder, target: Target, touched: Change["touched"], canonicalValue: CanonicalValue): void {
  builder.touchTable(target.hashes);
  if (touched === null) return builder.touchUnknownRows(target.hashes);
  for (const [column, type] of target.columns) {
    const values = Object.hasOwn(touched, column) ? touched[column] : undefined;
    if (values === undefined || (values && values.length > maxValuesListed)) {
      builder.touchUnknownRows(target.hashes);
      continue;
    }
    for (const text of new Set(values)) {
      const value = text.length > maxValueLength ? undefined : canonicalValue(type, text);
      if (value === undefined) {
        builder.touchUnknownRows(target.hashes);
        break;
      }
      builder.touchValue(target.hashes, column, value);
    }
  }
}
