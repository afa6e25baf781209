// A source into a table of the engine: bytes are scanned for rows while the engine loads those that were found before.

import { type FileHandle, open, stat, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MillraceError } from "../../core/index.ts";
import { type Column, isReserved, lineColumn } from "../column-types.ts";
import { etlErrors } from "../errors.ts";
import type { SourcePlan } from "../protocol.ts";
import { CsvScanner } from "./csv-scanner.ts";
import { type Engine, firstLine, quoteName, quoteText } from "./engine.ts";
import { LineScanner } from "./line-scanner.ts";
import type { Rejects } from "./rejects.ts";
import { RowSink } from "./row-sink.ts";
import { TableLoader } from "./table-loader.ts";
import { reasonOf, recastColumn } from "./typed-values.ts";

/** Read at a time beside what is left of the time before. */
const readBytes = 1_048_576;
/** Rows as text that are loaded at a time: enough that a statement's own cost does not show, little enough to hold twice. */
const segmentBytes = 8_388_608;

export interface ReadOptions {
  readonly engine: Engine;
  readonly workspace: string;
  readonly table: string;
  readonly source: SourcePlan;
  readonly rejects: Rejects;
  readonly maxRowBytes: number;
  /** Called when the table is there, still without rows. */
  readonly onCreated: () => Promise<void>;
  readonly onProgress: (rowsRead: number, bytesRead: number) => void;
}

export interface Read {
  readonly columns: readonly Column[];
  /** Rejected ones included. */
  readonly rows: number;
}

export async function readSource(options: ReadOptions): Promise<Read> {
  const { source } = options;
  const invalid = (reason: string, cause?: unknown) =>
    etlErrors.create("MILLRACE_ETL_SOURCE_INVALID", { source: source.name, reason }, cause);
  let file: FileHandle;
  try {
    file = await open(source.path);
  } catch (error) {
    throw invalid((error as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : (error as Error).message, error);
  }
  try {
    if (!(await file.stat()).isFile()) throw invalid("it is no file");
    return source.format === "parquet" ? await readParquet(options) : await readText(options, file);
  } finally {
    await file.close();
  }
}

type Invalid = (reason: string, cause?: unknown) => Error;

const invalidity =
  (source: SourcePlan): Invalid =>
  (reason, cause) =>
    etlErrors.create("MILLRACE_ETL_SOURCE_INVALID", { source: source.name, reason }, cause);

/** Reads CSV or NDJSON. */
async function readText(options: ReadOptions, file: FileHandle): Promise<Read> {
  const { source, rejects, maxRowBytes } = options;
  const invalid = invalidity(source);
  let filling = new RowSink(segmentBytes + readBytes);
  let draining = new RowSink(segmentBytes + readBytes);
  let loader: TableLoader | undefined;
  let names: readonly string[] | undefined;
  let structural = 0;
  let rowsFound = 0;
  const onBadRow = (line: number, lastLine: number, reason: string, text: string) => {
    structural++;
    rejects.add({ line, ...(lastLine > line && { lastLine }), reason, text });
  };
  const scanner =
    source.format === "ndjson"
      ? new LineScanner({ maxRowBytes, sink: filling, onBadRow })
      : new CsvScanner({
          delimiter: source.delimiter,
          maxRowBytes,
          sink: filling,
          onBadRow,
          onHeader: source.header
            ? (found) => {
                csvColumns(source, found); // what does not fit is to be said before any row is
                names = found;
              }
            : undefined,
          onBadHeader: (reason) => {
            throw invalid(`its first line is no header: ${reason}`);
          },
          fields: source.columns?.length,
        });

  const begin = async (): Promise<TableLoader> => {
    const { columns, order } = source.format === "csv" ? csvColumns(source, names) : { columns: source.columns!, order: [] };
    const { engine, workspace, table } = options;
    const format = {
      kind: source.format as "csv" | "ndjson",
      delimiter: source.delimiter,
      order,
      refuseUnknown: source.extraColumns === "refuse",
    };
    const made = new TableLoader({ engine, workspace, table, columns, format, maxRowBytes, rejects });
    await made.create();
    await options.onCreated();
    return made;
  };

  let loading: Promise<void> = Promise.resolve();
  const flush = async () => {
    loader ??= await begin();
    await loading;
    rowsFound += filling.rows;
    [filling, draining] = [draining, filling];
    scanner.sink = filling;
    loading = loader.load(draining).finally(() => draining.clear());
    loading.catch(() => {}); // it is awaited with the next segment
  };

  const window = Buffer.allocUnsafeSlow(maxRowBytes + readBytes);
  let held = 0;
  let bytesRead = 0;
  for (let last = false; !last;) {
    const { bytesRead: got } = await file.read(window, held, window.length - held);
    last = got === 0;
    let from = 0;
    if (bytesRead === 0) {
      if (got === 0) throw invalid("it is empty");
      from = skipByteOrderMark(window.subarray(0, got), invalid);
    }
    bytesRead += got;
    held += got;
    const taken = from + scanner.scan(window.subarray(from, held), last);
    window.copyWithin(0, taken, held);
    held -= taken;
    options.onProgress(rowsFound + filling.rows + structural, bytesRead);
    if (scanner.begun && !loader) loader = await begin();
    if (filling.length >= segmentBytes) await flush();
  }
  if (!scanner.begun) throw invalid("it has no header, only empty lines");
  await flush();
  await loading;
  return { columns: loaderColumns(source, names), rows: rowsFound + structural };
}

const loaderColumns = (source: SourcePlan, names: readonly string[] | undefined): readonly Column[] =>
  source.format === "csv" ? csvColumns(source, names).columns : source.columns!;

/** How many bytes of a UTF-8 mark there are. @throws when the mark is another encoding's */
function skipByteOrderMark(bytes: Buffer, invalid: Invalid): number {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 3;
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw invalid("it is in UTF-16; convert it to UTF-8");
  }
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) throw invalid("it is compressed with gzip; unpack it");
  return 0;
}

/** The columns of a CSV file and where each stands. @throws MILLRACE_ETL_HEADER_MISMATCH */
function csvColumns(
  source: SourcePlan,
  names: readonly string[] | undefined,
): { readonly columns: readonly Column[]; readonly order: readonly (string | null)[] } {
  if (!names) return { columns: source.columns!, order: source.columns!.map(({ name }) => name) };
  const columns = source.columns ?? names.map((name): Column => ({ name, type: "VARCHAR", required: false }));
  checkNames(source, names);
  const declared = new Set(columns.map(({ name }) => name));
  return { columns, order: names.map((name) => (declared.has(name) ? name : null)) };
}

/** @throws MILLRACE_ETL_HEADER_MISMATCH */
function checkNames(source: SourcePlan, names: readonly string[]): void {
  const seen = new Set<string>();
  const repeated = names.filter((name) => seen.size === seen.add(name.toLowerCase()).size);
  const declared = source.columns?.map(({ name }) => name);
  const missing = declared?.filter((name) => !names.includes(name)) ?? [];
  const unknown = names.filter((name) =>
    declared ? source.extraColumns === "refuse" && !declared.includes(name) : isReserved(name) || name === "",
  );
  const fatal = declared && source.extraColumns === "ignore" ? repeated.filter((name) => declared.includes(name)) : repeated;
  if (missing.length + unknown.length + fatal.length > 0) {
    throw etlErrors.create("MILLRACE_ETL_HEADER_MISMATCH", { source: source.name, missing, unknown, repeated: fatal });
  }
}

/** Reads Parquet, whose rows have no lines: their number stands for it. */
async function readParquet(options: ReadOptions): Promise<Read> {
  const { engine, workspace, table, source, rejects } = options;
  const invalid = invalidity(source);
  // Under a name of ours: in one of the user's, * and [ would be a pattern.
  const path = join(workspace, `${table.replaceAll(/\W/g, "_")}.parquet`);
  await symlink(resolve(source.path), path);
  const read = `read_parquet(${quoteText(path)}, file_row_number = true)`;
  let described: { readonly column_name: string; readonly column_type: string }[];
  try {
    described = (await engine.rows("source", `describe select * from ${read}`)) as unknown as typeof described;
  } catch (error) {
    throw invalid(`it is no Parquet file: ${firstLine((error as Error).message)}`, error);
  }
  const found = described.filter(({ column_name: name }) => name !== "file_row_number");
  checkNames(
    source,
    found.map(({ column_name: name }) => name),
  );
  const typeOf = new Map(found.map(({ column_name: name, column_type: type }) => [name, type]));
  const columns =
    source.columns ?? found.map(({ column_name: name, column_type: type }): Column => ({ name, type, required: false }));
  const typed = columns.map((column) => recastColumn(column, quoteName(column.name), typeOf.get(column.name)!));
  const definitions = [`${lineColumn} bigint`, ...columns.map(({ name, type }) => `${quoteName(name)} ${type}`)];
  await engine.run("source", `create table ${quoteName(table)} (${definitions.join(", ")})`);
  await options.onCreated();

  const checks = typed.flatMap(({ valid }) => valid ?? []);
  const good = [...checks, "true"].join(" and ");
  const { size } = await stat(path);
  let kept: number;
  let given: number;
  let bad: { line: string; column: number; value: string | null }[] = [];
  try {
    given = Number((await engine.rows("source", `select count(*) as n from ${read}`))[0]!["n"]);
    kept = await engine.run(
      "source",
      `insert into ${quoteName(table)} select file_row_number + 1, ${typed.map(({ value }) => value).join(", ")} from ${read} where ${good}`,
    );
    if (kept < given && checks.length > 0) {
      const blame = (what: (index: number) => string) =>
        `case ${typed.map(({ valid }, index) => (valid ? `when not ${valid} then ${what(index)}` : "")).join(" ")} end`;
      bad = (await engine.rows(
        "source",
        `select (file_row_number + 1)::varchar as line, ${blame(String)} as column, left(${blame((index) => typed[index]!.text)}, 200) as value
         from ${read} where not (${good}) order by file_row_number limit ${rejects.room + 1}`,
      )) as unknown as typeof bad;
    }
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw invalid(`it is damaged: ${firstLine((error as Error).message)}`, error);
  }
  for (const { line, column, value } of bad) {
    const { name, type } = typed[column]!;
    rejects.add({ line: Number(line), column: name, ...(value !== null && { value }), reason: reasonOf(type, value) });
  }
  if (kept + bad.length !== given) {
    throw etlErrors.create("MILLRACE_ETL_ROWS_LOST", { stage: `loading ${table}`, expected: given, found: kept + bad.length });
  }
  options.onProgress(given, size);
  return { columns, rows: given };
}
