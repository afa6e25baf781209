// A table in FROM: a place that reads it, with the policies of its row-level security. docs/dependencies.md.

import { type Node, as, child, children, names, statementsOf } from "../ast.ts";
import type { Relation } from "../catalogue.ts";
import { refuse } from "../refusal.ts";
import { type Col, type Item, type Occurrence, addTo, newMarks } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { expression } from "./expressions.ts";
import type { Source } from "./source.ts";

/** A table under its name: a new place that reads it. `only`: without inheritance children. */
export function tableItem(analysis: Analysis, relation: Relation, alias: Node | undefined, shown: string, only: boolean): Source {
  for (const each of only && relation.kind !== "p" ? [relation] : [relation, ...relation.children]) judgeTable(each);
  const occurrence: Occurrence = { relation, equalities: [], promises: [], presence: new Set(), only };
  analysis.occurrences.push(occurrence);
  const renamed = names(children(alias, "colnames"));
  const depends = new Set([occurrence]);
  const columns = relation.columns.map((column, i): Col => ({
    name: renamed[i] ?? column.name,
    origins: [{ kind: "column", occurrence, column }],
    pushable: true,
    depends,
  }));
  const item: Item = { name: shown, columns, open: false, depends, occurrence };
  const exists = new Set([occurrence]);
  // Inside of views the owner's policies count; there and for children, all that are enabled are taken to apply.
  const inView = analysis.open.some((each) => each !== undefined && "definition" in (each as object));
  if (analysis.bugs.policiesReadNothing) return { items: [item], exists, repeats: new Set(), solid: exists };
  if (relation.rowSecurity.active || (inView && relation.rowSecurity.enabled)) {
    for (const policy of relation.policies)
      addTo(exists, policyPlaces(analysis, policy, { ...item, name: relation.name }, relation));
  }
  return { items: [item], exists, repeats: new Set(), solid: exists };
}

function judgeTable({ name, kind, persistence }: Relation): void {
  if (kind === "m") refuse(`reads the materialised view ${name}, whose refreshes are not in the log of changes`);
  if (kind === "f") refuse(`reads the foreign table ${name}, whose changes are not seen`);
  if (kind === "S") refuse(`reads the sequence ${name}`);
  if (persistence !== "p") refuse(`reads ${name}, whose changes are not in the log because it is unlogged or temporary`);
}

function policyPlaces(analysis: Analysis, condition: string, item: Item, relation: Relation): ReadonlySet<Occurrence> {
  const select = as(statementsOf(`select 1 where ${condition}`)[0], "SelectStmt");
  if (!select) return refuse(`row-level security of ${relation.name} is not understood`);
  return expression(analysis, child(select, "whereClause"), {
    items: [item],
    parent: undefined,
    tables: undefined,
    marks: newMarks(),
  });
}
