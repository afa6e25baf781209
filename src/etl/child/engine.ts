// DuckDB, locked in: it sees the run's own directory and the output, loads nothing, and cannot be told otherwise. See docs/etl.md.

import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from "@duckdb/node-api";
import { MillraceError } from "../../core/index.ts";
import { etlErrors } from "../errors.ts";
import type { EtlPlan } from "../protocol.ts";

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Where the engine spills. */
export const spillDirectory = (workspace: string): string => join(workspace, "spill");

/** What happened, for the failure of a statement that is not the user's. */
export type Doing = "source" | "transform" | "output";

export class Engine implements AsyncDisposable {
  readonly #plan: EtlPlan;
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;

  private constructor(plan: EtlPlan, instance: DuckDBInstance, connection: DuckDBConnection) {
    this.#plan = plan;
    this.#instance = instance;
    this.#connection = connection;
  }

  static async open(plan: EtlPlan): Promise<Engine> {
    const { DuckDBInstance } = await import("@duckdb/node-api").catch((error: unknown) => {
      throw etlErrors.create("MILLRACE_ETL_ENGINE_MISSING", {}, error);
    });
    const spill = spillDirectory(plan.workspace);
    await mkdir(spill, { recursive: true });
    const instance = await DuckDBInstance.create(join(plan.workspace, "engine.db"), {
      threads: String(plan.threads),
      memory_limit: `${plan.memoryLimitMb}MB`,
      temp_directory: spill,
      max_temp_directory_size: `${plan.maxSpillMb}MB`,
      autoinstall_known_extensions: "false",
      autoload_known_extensions: "false",
      allow_community_extensions: "false",
      // Rows are inserted once and the file is thrown away: nothing is to be made durable.
      checkpoint_threshold: "1GB",
    });
    const connection = await instance.connect();
    const engine = new Engine(plan, instance, connection);
    await engine.run("source", `set allowed_directories = [${quoteText(plan.workspace)}]`);
    const parquet = [plan.input, ...Object.values(plan.tables)].filter(({ format }) => format === "parquet");
    const paths = [plan.output.path, ...parquet.map(({ path }) => path)].map(quoteText);
    await engine.run("source", `set allowed_paths = [${paths.join(", ")}]`);
    await engine.run("source", "set enable_external_access = false");
    await engine.run("source", "set lock_configuration = true");
    return engine;
  }

  /** Runs a statement; returns how many rows it changed. */
  async run(doing: Doing, text: string, values: readonly unknown[] = []): Promise<number> {
    try {
      const result = await this.#connection.run(text, values.length > 0 ? (values as DuckDBValue[]) : undefined);
      return result.rowsChanged;
    } catch (error) {
      throw this.#explain(doing, error);
    }
  }

  /** All rows of a statement that has few. */
  async rows(doing: Doing, text: string, values: readonly unknown[] = []): Promise<Record<string, unknown>[]> {
    try {
      const reader = await this.#connection.runAndReadAll(text, values.length > 0 ? (values as DuckDBValue[]) : undefined);
      return reader.getRowObjectsJson();
    } catch (error) {
      throw this.#explain(doing, error);
    }
  }

  /** The rows of a statement in batches, each value as JavaScript has it, on a connection of its own. */
  async *batches(text: string): AsyncGenerator<readonly (readonly unknown[])[], void, undefined> {
    const connection = await this.#instance.connect();
    try {
      const result = await connection.stream(text);
      for (;;) {
        const chunk = await result.fetchChunk();
        if (!chunk || chunk.rowCount === 0) return;
        yield chunk.getColumns();
      }
    } catch (error) {
      throw this.#explain("source", error);
    } finally {
      connection.closeSync();
    }
  }

  /** How much of the running statement is done, from 0 to 1; 0 where the engine does not know. */
  get progress(): number {
    return Math.max(0, this.#connection.progress.percentage) / 100;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.closeSync();
    this.#instance.closeSync();
    await Promise.resolve();
  }

  #explain(doing: Doing, error: unknown): unknown {
    if (error instanceof MillraceError || !(error instanceof Error)) return error;
    const reason = error.message.trim();
    if (/no space left on device|max_temp_directory_size|not enough space|disk full|ENOSPC/i.test(reason)) {
      const directory = doing === "output" ? `${dirname(this.#plan.output.path)} or ${this.#plan.workspace}` : this.#plan.workspace;
      return etlErrors.create("MILLRACE_ETL_DISK_FULL", { directory, reason: firstLine(reason) }, error);
    }
    if (/^Out of Memory Error|failed to (?:allocate|pin)|std::bad_alloc/i.test(reason)) {
      return etlErrors.create(
        "MILLRACE_ETL_OUT_OF_MEMORY",
        { memoryLimitMb: this.#plan.memoryLimitMb, reason: firstLine(reason) },
        error,
      );
    }
    return doing === "transform" ? etlErrors.create("MILLRACE_ETL_TRANSFORM_FAILED", { reason }, error) : error;
  }
}

export const firstLine = (text: string): string => text.split("\n", 1)[0]!;
