// pg's Query for pipelined reads, without the description of the result once it is known: the server refuses to change it under a
// prepared statement ("cached plan must not change result type"), so asking for it again with every run is wasted on both sides.
// Gains and method: bench/findings.md. It overrides parts of pg that are not public, which is one reason why pg is pinned.

import pg from "pg";

/** The parts of pg's Connection that sending a prepared statement takes. */
interface WireConnection {
  readonly parsedStatements: Readonly<Record<string, string>>;
  bind(config: { statement: string; values: readonly unknown[] | undefined; valueMapper: (value: unknown) => unknown }): void;
  execute(config: object): void;
  sync(): void;
}

/** What pg's Result knows of its columns. */
interface ResultShape {
  fields: pg.FieldDef[];
  _parsers: unknown;
  _prebuiltEmptyResultObject: unknown;
}

interface WireResult extends ResultShape {
  addRow(row: unknown): void;
  parseRow(fields: unknown): unknown;
}

/** pg's Query, with what its public types leave out. */
interface WireQuery {
  readonly name: string | undefined;
  readonly values: readonly unknown[] | undefined;
  readonly _result: WireResult;
  _canceledDueToError: unknown;
  prepare(connection: WireConnection): void;
}

const PgQuery = pg.Query as unknown as new (config: object, values: undefined, callback: QueryCallback) => WireQuery;
const { prepareValue } = (pg as unknown as { readonly utils: { readonly prepareValue: (value: unknown) => unknown } }).utils;

export type QueryCallback = (error: Error | null, result: pg.QueryResult) => void;

/** The columns of each prepared statement's result on one connection, by the statement's name; array rows under a name of their own. */
export type ResultShapes = Map<string, ResultShape>;

/** One run of a prepared statement. With `shapes` it asks for the description of its result only the first time. */
export class LeanQuery extends PgQuery {
  readonly #shapes: ResultShapes;
  readonly #key: string | undefined;

  constructor(
    config: { readonly name: string | undefined; readonly rowMode: string | undefined },
    shapes: ResultShapes,
    callback: QueryCallback,
  ) {
    super(config, undefined, callback);
    this.#shapes = shapes;
    this.#key = config.name && (config.rowMode === "array" ? `${config.name} array` : config.name);
  }

  override prepare(connection: WireConnection): void {
    const shape = this.#key === undefined ? undefined : this.#shapes.get(this.#key);
    if (shape === undefined || connection.parsedStatements[this.name!] === undefined) {
      super.prepare(connection);
      return;
    }
    const result = this._result;
    result.fields = shape.fields;
    result._parsers = shape._parsers;
    result._prebuiltEmptyResultObject = shape._prebuiltEmptyResultObject;
    try {
      connection.bind({ statement: this.name!, values: this.values, valueMapper: prepareValue });
    } catch {
      super.prepare(connection); // a value that cannot be sent: pg's own way answers it without losing step
      return;
    }
    connection.execute({});
    connection.sync();
  }

  /** pg's, without an event per row. */
  handleDataRow(message: { readonly fields: unknown }): void {
    if (this._canceledDueToError) return;
    try {
      this._result.addRow(this._result.parseRow(message.fields));
    } catch (error) {
      this._canceledDueToError = error;
    }
  }

  /** After a run that succeeded: the next one need not ask. */
  rememberShape(): void {
    if (this.#key === undefined || this.#shapes.has(this.#key)) return;
    const { fields, _parsers, _prebuiltEmptyResultObject } = this._result;
    if (fields.length > 0) this.#shapes.set(this.#key, { fields, _parsers, _prebuiltEmptyResultObject });
  }
}
