// What a transform in a module is: a generator from batches of rows to batches of rows. See docs/etl.md.

/** A row as a transform sees and yields it: values by column. */
export type EtlRow = Readonly<Record<string, unknown>>;

export interface TransformTools {
  /** Puts a row of the source into the report, which the transform then does not yield. */
  reject(this: void, row: object, reason: string): void;
  /** Its line in the source, and of copies made with `{ ...row }`; undefined for rows made otherwise. */
  lineOf(this: void, row: object): number | undefined;
}

/**
 * Reads batches of at most 2,048 rows as it asks for them and yields arrays of rows of its own, of any length. Values come as
 * numbers, strings, booleans and null; BIGINT and larger as bigint; DECIMAL, dates, times and everything else as text. They go back the
 * same way, and Date, too; what is no value of its column's type makes its row a bad one.
 */
export type TransformFunction<Row extends object = EtlRow> = (
  batches: AsyncIterable<readonly Row[]>,
  tools: TransformTools,
) => AsyncIterable<readonly EtlRow[]>;

/** Where a row of the source keeps its line: spread copies keep it, and it is no column. */
export const sourceLine: unique symbol = Symbol("line of the source");
