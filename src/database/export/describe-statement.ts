// What a statement returns, asked of the server without running it (Parse, Describe, Sync). See docs/streaming-export.md.

import type { Client, Connection } from "pg";

export interface StatementColumn {
  readonly name: string;
  /** pg_type.oid; of a domain, its base type. */
  readonly typeOid: number;
}

interface RowDescription {
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[];
}

/** What pg's client runs when its turn comes, and tells what the server answers; the same contract that pg-cursor fulfils. */
class DescribeQuery {
  readonly columns: Promise<readonly StatementColumn[]>;
  readonly text: string;
  readonly #resolve: (columns: readonly StatementColumn[]) => void;
  readonly #reject: (error: unknown) => void;
  #columns: readonly StatementColumn[] = [];

  constructor(text: string) {
    this.text = text;
    const { promise, resolve, reject } = Promise.withResolvers<readonly StatementColumn[]>();
    this.columns = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  submit(connection: Connection): void {
    connection.parse({ name: "", text: this.text, types: [] }, true);
    connection.describe({ type: "S", name: "" }, true);
    connection.sync();
  }

  handleRowDescription({ fields }: RowDescription): void {
    this.#columns = fields.map(({ name, dataTypeID }) => ({ name, typeOid: dataTypeID }));
  }

  handleError(error: unknown): void {
    this.#reject(error);
  }

  handleReadyForQuery(): void {
    this.#resolve(this.#columns);
  }
}

/** The columns of `text`, none when it returns no rows at all. Types of parameters are the server's inference. */
export function describeStatement(client: Client, text: string): Promise<readonly StatementColumn[]> {
  return client.query(new DescribeQuery(text)).columns;
}
