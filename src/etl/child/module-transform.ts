// A transform in a module: rows of `input` in batches through its generator, what it yields as text into the table `result`.

import { MillraceError } from "../../core/index.ts";
import { type Column, isText, lineColumn } from "../column-types.ts";
import { etlErrors } from "../errors.ts";
import { type TransformFunction, type TransformTools, sourceLine } from "../transform.ts";
import { type Engine, quoteName } from "./engine.ts";
import type { Rejects } from "./rejects.ts";
import { RowSink } from "./row-sink.ts";
import { TableLoader } from "./table-loader.ts";
import { dayText, timestampText } from "./time-text.ts";

const segmentBytes = 4_194_304;
const comma = 44;

export interface ModuleTransformOptions {
  readonly engine: Engine;
  readonly workspace: string;
  readonly url: string;
  readonly name: string;
  readonly input: readonly Column[];
  readonly columns: readonly Column[];
  readonly maxRowBytes: number;
  readonly rejects: Rejects;
  readonly onProgress: (rowsIn: number) => void;
}

const failed = (reason: string, cause?: unknown) => etlErrors.create("MILLRACE_ETL_TRANSFORM_FAILED", { reason }, cause);

/** The exported generator. @throws MILLRACE_ETL_TRANSFORM_FAILED */
export async function importTransform(url: string, name: string): Promise<TransformFunction> {
  let module: Record<string, unknown>;
  try {
    module = (await import(url)) as Record<string, unknown>;
  } catch (error) {
    throw failed(`${url} cannot be imported: ${(error as Error).message}`, error);
  }
  const transform = module[name];
  if (typeof transform !== "function") throw failed(`${url} exports no function named ${name}`);
  return transform as TransformFunction;
}

type MutableRow = Record<string | typeof sourceLine, unknown>;

/** The types whose values JavaScript has itself; the others travel as text. */
const native =
  /^(?:BOOLEAN|TINYINT|SMALLINT|INTEGER|INT|UTINYINT|USMALLINT|UINTEGER|FLOAT|REAL|DOUBLE|BIGINT|UBIGINT|HUGEINT|UHUGEINT)$/;

/** How a column is asked for, and what its values become. */
interface Reading {
  readonly name: string;
  readonly select: string;
  readonly read: ((value: never) => unknown) | undefined;
}

function readingOf({ name, type }: Column, finite: boolean): Reading {
  const column = quoteName(name);
  if (native.test(type) || isText(type)) return { name, select: column, read: undefined };
  if (type === "DATE" && finite) return { name, select: `(${column} - date '1970-01-01')::integer`, read: dayText };
  if (type === "TIMESTAMP" && finite) return { name, select: `epoch_us(${column})`, read: timestampText };
  return { name, select: `${column}::varchar`, read: undefined };
}

async function* rowsOf(
  engine: Engine,
  input: readonly Column[],
  onProgress: (rowsIn: number) => void,
): AsyncGenerator<readonly MutableRow[], void, undefined> {
  const times = input
    .filter(({ type }) => type === "DATE" || type === "TIMESTAMP")
    .map(({ name }) => `isfinite(${quoteName(name)})`);
  const [all] = await engine.rows(
    "source",
    `select coalesce(bool_and(${["true", ...times].join(" and ")}), true) as finite from input`,
  );
  const readings = input.map((column) => readingOf(column, all!["finite"] === true));
  let rowsIn = 0;
  for await (const columns of engine.batches(
    `select ${[lineColumn, ...readings.map(({ select }) => select)].join(", ")} from input`,
  )) {
    const rows: MutableRow[] = columns[0]!.map((line) => ({ [sourceLine]: Number(line) }));
    for (const [index, { name, read }] of readings.entries()) {
      const values = columns[index + 1]!;
      for (let row = 0; row < rows.length; row++) {
        const value = values[row] ?? null;
        rows[row]![name] = read === undefined || value === null ? value : read(value as never);
      }
    }
    rowsIn += rows.length;
    yield rows;
    onProgress(rowsIn);
  }
}

/** Runs the transform; the rows are in the table `result` then. Returns how many. */
export async function runModuleTransform(transform: TransformFunction, options: ModuleTransformOptions): Promise<number> {
  const { engine, workspace, input, columns, maxRowBytes, rejects } = options;
  const format = { kind: "csv", delimiter: ",", order: columns.map(({ name }) => name), refuseUnknown: true } as const;
  const loader = new TableLoader({ engine, workspace, table: "result", columns, format, maxRowBytes: 4 * maxRowBytes, rejects });
  await loader.create();
  const lineOf = (row: object): number | undefined => (row as MutableRow)[sourceLine] as number | undefined;
  const tools: TransformTools = {
    lineOf,
    reject(row, reason) {
      const line = lineOf(row);
      rejects.add({ ...(line !== undefined && { line }), reason: String(reason) });
    },
  };
  const names = new Set(columns.map(({ name }) => name));
  let filling = new RowSink(segmentBytes);
  let draining = new RowSink(segmentBytes);
  let loading: Promise<void> = Promise.resolve();
  const flush = async () => {
    await loading;
    [filling, draining] = [draining, filling];
    loading = loader.load(draining).finally(() => draining.clear());
    loading.catch(() => {}); // it is awaited with the next segment
  };

  const put = (row: Readonly<Record<string, unknown>>): void => {
    const line = lineOf(row);
    for (const key in row)
      if (!names.has(key)) throw failed(`it yielded a row with ${JSON.stringify(key)}, which is none of its columns`);
    const fields: string[] = [];
    for (const { name } of columns) {
      const field = fieldOf(row[name]);
      if (field === undefined) {
        rejects.add({ ...(line !== undefined && { line }), column: name, reason: "its value cannot be written as text" });
        return;
      }
      fields.push(field);
    }
    const text = fields.join(",");
    const bytes = Buffer.byteLength(text);
    if (bytes > 4 * maxRowBytes) {
      rejects.add({
        ...(line !== undefined && { line }),
        reason: `the row that was made of it is longer than ${4 * maxRowBytes} bytes`,
      });
      return;
    }
    filling.reserve(bytes);
    const from = filling.writeLine(filling.length, line ?? 0, comma);
    filling.bytes.write(text, from);
    filling.bytes[from + bytes] = 10;
    filling.length = from + bytes + 1;
    filling.rows++;
  };

  try {
    for await (const batch of transform(rowsOf(engine, input, options.onProgress), tools)) {
      if (!Array.isArray(batch)) throw failed("it yielded what is no array of rows");
      for (const row of batch as readonly Readonly<Record<string, unknown>>[]) {
        put(row);
        if (filling.length >= segmentBytes) await flush();
      }
    }
  } catch (error) {
    await loading; // what went wrong there first is the reason
    if (error instanceof MillraceError) throw error;
    throw failed(error instanceof Error ? `${error.name}: ${error.message}` : String(error), error);
  }
  await flush();
  await loading;
  return loader.rows;
}

/** A value as a field of CSV; undefined when there is no text for it. */
function fieldOf(value: unknown): string | undefined {
  switch (typeof value) {
    case "undefined":
      return "";
    case "number":
    case "bigint":
    case "boolean":
      return String(value);
    case "string":
      return textField(value);
    case "object":
      if (value === null) return "";
      if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString();
      return textField(JSON.stringify(value));
    default:
      return undefined;
  }
}

function textField(text: string): string | undefined {
  if (text === "") return '""';
  if (!text.isWellFormed() || text.includes("\0")) return undefined;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
