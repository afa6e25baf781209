// Lets observers hear of what runs on a pg client, whoever calls its query(): see ../observer.ts.

import pg from "pg";
import { type ObservedEnd, type ObservedSession, type StatementObserver, isObserved } from "../observer.ts";
import { isConnectionLoss } from "./connection.ts";

/** Everything that pg's Client runs: its own Query, cursors, COPY streams. `text` and `values` are there by convention. */
interface Submittable {
  readonly text?: unknown;
  readonly values?: readonly unknown[] | undefined;
  callback?: ((error: Error | null, result?: pg.QueryResult) => void) | undefined;
  readonly _results?: unknown;
  handleReadyForQuery(connection: unknown): void;
  handleError(error: Error, connection: unknown): void;
}

/** The parts of pg's Client that its public types leave out. */
interface ClientInternals {
  readonly _txStatus: "I" | "T" | "E" | null;
  readonly _queryable: boolean;
  readonly _ended: boolean;
  query(config: unknown, values?: unknown, callback?: unknown): unknown;
}

const PgQuery = pg.Query as unknown as new (config: unknown, values: unknown, callback: unknown) => Submittable;

const isSubmittable = (config: unknown): config is Submittable =>
  typeof (config as { submit?: unknown } | null | undefined)?.submit === "function";

class Session implements ObservedSession {
  readonly #client: ClientInternals;
  lost = false;

  constructor(client: ClientInternals) {
    this.#client = client;
  }

  get idle(): boolean {
    const { _txStatus: status, _queryable: queryable, _ended: ended } = this.#client;
    return status === "I" || this.lost || ended || !queryable;
  }
}

/** The rows of one result as the driver has parsed them; several results in one text are not told apart. */
function endOf(results: unknown): ObservedEnd {
  const result = results as Partial<pg.QueryResult> | undefined;
  return Array.isArray(results) || result?.rows === undefined
    ? { error: undefined, rows: undefined, fields: undefined }
    : { error: undefined, rows: result.rows, fields: result.fields };
}

/** As pg's own client.query() answers without a callback: a promise whose stack leads to the caller. */
function promiseOf(query: Submittable): Promise<pg.QueryResult> {
  return new Promise<pg.QueryResult>((resolve, reject) => {
    query.callback = (error, result) => (error ? reject(error) : resolve(result!));
  }).catch((error: Error) => {
    Error.captureStackTrace(error);
    throw error;
  });
}

/** From now on `observers` hear of every statement on `client`. While there are none it costs one look at the list. */
export function observeClient(client: pg.Client, observers: readonly StatementObserver[]): void {
  const internals = client as unknown as ClientInternals;
  const original = internals.query.bind(client);
  const session = new Session(internals);

  const listen = (query: Submittable): void => {
    const text = typeof query.text === "string" ? query.text : "";
    const ends = observers.flatMap((observer) => observer.onStatement({ text, values: query.values, session }) ?? []);
    let ended = false;
    const end = (what: ObservedEnd): void => {
      if (ended) return;
      ended = true;
      for (const hear of ends) hear(what);
    };
    // Own properties hide the class's methods: the end is heard before the query tells its caller.
    const ready = query.handleReadyForQuery.bind(query);
    const fail = query.handleError.bind(query);
    query.handleReadyForQuery = (connection) => {
      end(endOf(query._results));
      ready(connection);
    };
    query.handleError = (error, connection) => {
      if (isConnectionLoss(error)) session.lost = true;
      end({ error, rows: undefined, fields: undefined });
      fail(error, connection);
    };
  };

  internals.query = (config, values, callback) => {
    if (observers.length === 0 || config === null || config === undefined || !isObserved())
      return original(config, values, callback);
    if (isSubmittable(config)) {
      listen(config);
      return original(config, values, callback);
    }
    const query = new PgQuery(config, values, callback);
    const answer = query.callback ? undefined : promiseOf(query);
    listen(query);
    original(query);
    return answer;
  };
}
