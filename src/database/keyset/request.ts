// What a keyset page is asked with and what it looks like. See docs/keyset-pages.md.

/** Which page of a list is asked for. */
export interface KeysetRequest {
  /**
   * The order, most significant first: `"created_at desc"`, `"temperature desc nulls last"`, `"id"`. Names are columns of the
   * statement's result. The columns together must be unique, so the last one is usually a key. At most 8.
   */
  readonly orderBy: readonly string[];
  /** How many rows a page has at the most, 1 to 10,000. */
  readonly limit: number;
  /** `page.next` or `page.previous` of another page of this list; absent: the first page. */
  readonly cursor?: string | undefined;
  /** What a cursor is good for beside its order: one made in another scope is refused. The HTTP layer passes the path. */
  readonly scope?: string;
}

/** A page of a list. */
export interface Page<Row> {
  data: Row[];
  page: {
    /** Leads to the rows that follow; null when there are none. */
    next: string | null;
    /** Leads to the rows before; null on the first page. */
    previous: string | null;
  };
}
