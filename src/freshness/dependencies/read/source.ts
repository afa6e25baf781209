// What a query is put together from while it is analysed: something in FROM, and one side of an equality. docs/dependencies.md.

import type { Col, Item, Occurrence, Origin } from "../shape.ts";

/** Something in FROM while its block is put together. */
export interface Source {
  readonly items: readonly Item[];
  readonly exists: Set<Occurrence>;
  readonly repeats: Set<Occurrence>;
  /** Places whose rows are not missing in any row of the source. */
  readonly solid: ReadonlySet<Occurrence>;
}

/** Both sides of an equality as they are known. */
export interface Side {
  readonly col: Col;
  /** In whose columns it is, when that is of the block itself. */
  readonly item: Item | undefined;
  readonly origins: readonly Origin[] | undefined;
  /** It is a list: several of its values may be met. */
  readonly many?: boolean;
}
