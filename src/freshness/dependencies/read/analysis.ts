// What is known of one statement while it is followed from FROM to its result. docs/dependencies.md.

import type { Node } from "../ast.ts";
import type { Catalogue } from "../catalogue.ts";
import type { CommonTables, Occurrence, Rows, Scope } from "../shape.ts";

/** What the oracle's test breaks on purpose, to see itself catch it. */
export interface PlantedBugs {
  /** ON of a LEFT JOIN narrows the preserved side too. */
  readonly outerJoinsNarrowBothSides?: boolean;
  /** Conditions are applied below LIMIT. */
  readonly limitIsTransparent?: boolean;
  /** Rows of an inner join need not exist. */
  readonly joinsNeedNoPartner?: boolean;
  /** Conditions are applied below window functions. */
  readonly windowsAreTransparent?: boolean;
  /** The tables that row-level security looks at are left out. */
  readonly policiesReadNothing?: boolean;
  /** Rows of inheritance children are not read along. */
  readonly childrenAreForgotten?: boolean;
}

/** Follows a query: the body of a SelectStmt, the scope around it, and the WITH queries that it may name. */
export type Follow = (analysis: Analysis, select: Node, parent: Scope | undefined, tables: CommonTables | undefined) => Rows;

/** One statement on its way. Throws Refusal where the answer may not be kept. */
export class Analysis {
  readonly catalogue: Catalogue;
  readonly bugs: PlantedBugs;
  readonly #follow: Follow;
  /** The places that read a table, in the order in which they were met. */
  readonly occurrences: Occurrence[] = [];
  /** Places of which an expression that decides about rows has used columns. */
  readonly decided = new Set<Occurrence>();
  /** WITH queries and views that are being unfolded. */
  readonly open: unknown[] = [];
  readonly castTargets = new Set<string>();
  blocks = 0;
  /** An operator or a function of the database's own is called. */
  ownCode = false;
  timeDependent = false;
  /** Something was not understood: no place is narrowed. */
  coarse = false;

  /** `follow` comes from outside: queries stand in expressions and in FROM, and are made of them. */
  constructor(catalogue: Catalogue, bugs: PlantedBugs, follow: Follow) {
    this.catalogue = catalogue;
    this.bugs = bugs;
    this.#follow = follow;
  }

  select(select: Node, parent: Scope | undefined, tables: CommonTables | undefined): Rows {
    return this.#follow(this, select, parent, tables);
  }
}
