// What a foreign key promises: for each value of the one side, a row of the other. docs/dependencies.md.

import type { ColumnOrigin, Occurrence } from "../shape.ts";
import type { Side } from "./source.ts";

/** The side as a column of a table itself. */
export function keyOf(side: Side, occurrence: Occurrence): ColumnOrigin | undefined {
  if (side.item?.occurrence !== occurrence) return undefined;
  const [origin] = side.col.origins ?? [];
  return origin?.kind === "column" && origin.occurrence === occurrence ? origin : undefined;
}

/** Whether rows of children are read along, among which a key need not be unique. */
export const inherited = ({ relation, only }: Occurrence): boolean =>
  relation.kind !== "p" && relation.children.length > 0 && !only;

/** Whether a foreign key promises a row of `key`'s table for each value of the other side. */
export function promise(key: ColumnOrigin, other: Side): ColumnOrigin | undefined {
  const origin = other.origins?.length === 1 ? other.origins[0]! : undefined;
  if (origin?.kind !== "column" || origin.occurrence === key.occurrence) return undefined;
  const { relation } = key.occurrence;
  if (relation.rowSecurity.enabled || inherited(key.occurrence) || inherited(origin.occurrence)) return undefined;
  const holds = origin.occurrence.relation.references.some(
    (each) => each.column === origin.column.name && each.table === relation.oid && each.key === key.column.name,
  );
  if (!holds || !relation.unique.has(key.column.name)) return undefined;
  key.occurrence.promises.push({ column: key.column, origin });
  return origin;
}
