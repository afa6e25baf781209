// Follows a query from FROM to its result: which places read a table, what narrows each of them, where each column comes from,
// and which places decide what rows there are. Where it does not understand, it takes the coarser way. docs/dependencies.md.

import type { Node } from "./ast.ts";
import type { Catalogue } from "./catalogue.ts";
import { Analysis, type PlantedBugs } from "./read/analysis.ts";
import { follow } from "./read/queries.ts";
import { refuse } from "./refusal.ts";
import type { Rows } from "./shape.ts";

/** Casts run by themselves wherever their types meet: only where neither type is near are they out of the question. */
function judgeCasts({ catalogue, occurrences, ownCode, castTargets }: Analysis): void {
  for (const { source, target, targetName } of catalogue.casts) {
    const near = occurrences.some(({ relation }) => relation.columns.some(({ type }) => type === source || type === target));
    if (near || ownCode || castTargets.has(targetName)) {
      refuse(`a cast to ${targetName} may run a function that is not IMMUTABLE`);
    }
  }
}

/** A whole statement, the body of a SelectStmt, and what was learned on the way. @throws Refusal when its answer may not be kept. */
export function analyse(
  select: Node,
  catalogue: Catalogue,
  bugs: PlantedBugs,
): { readonly analysis: Analysis; readonly rows: Rows } {
  const analysis = new Analysis(catalogue, bugs, follow);
  const rows = analysis.select(select, undefined, undefined);
  judgeCasts(analysis);
  return { analysis, rows };
}
