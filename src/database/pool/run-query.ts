// Runs one statement on a connection of its own, by pg's Query with one thing mended: a COPY FROM STDIN that comes this way has no
// data to send and must fail without taking the connection with it.

import pg from "pg";

/** The parts of pg's Connection that refusing a COPY takes. */
interface CopyConnection {
  sendCopyFail(reason: string): void;
  sync(): void;
}

/** What pg's Query takes beside its public types. */
export interface QueryRun {
  readonly text: string;
  readonly name?: string | undefined;
  readonly values?: readonly unknown[] | undefined;
  readonly rowMode?: "array" | undefined;
  readonly types?: pg.CustomTypesConfig | undefined;
  readonly queryMode?: "extended" | undefined;
}

type Callback = (error: Error | null, result: pg.QueryResult) => void;

const PgQuery = pg.Query as unknown as new (
  config: QueryRun,
  values: undefined,
  callback: Callback,
) => { requiresPreparation(): boolean };

class Query extends PgQuery {
  /**
   * The server ignores a Sync while it waits for COPY data (protocol 55.2.6), and in the extended protocol ours has been sent
   * already: without another one it would never be ready again.
   */
  handleCopyInResponse(connection: CopyConnection): void {
    connection.sendCopyFail("COPY FROM STDIN needs a stream: use pg-copy-streams on a client of pool.connect()");
    if (this.requiresPreparation()) connection.sync();
  }
}

/** As client.query(), on a client that is not pipelining. */
export function runQuery(client: pg.ClientBase, run: QueryRun): Promise<pg.QueryResult> {
  return new Promise((resolve, reject) => {
    client.query(
      new Query(run, undefined, (error, result) => (error ? reject(error) : resolve(result))) as unknown as pg.Submittable,
    );
  });
}
