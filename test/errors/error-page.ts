// The table of docs/errors.md, made from the error catalogs in src. `npm run errors` writes it, test/errors.test.ts compares it.

import { globSync } from "node:fs";
import { join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ErrorDefinition } from "../../src/core/index.ts";
import { problemTable } from "../../src/http/problem-table.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Where the table stands in the page; what is between them is written by machine. */
export const marks = { begin: "<!-- errors: begin -->", end: "<!-- errors: end -->" } as const;

/** One code, with the capability that raises it. */
export interface ErrorRow extends Pick<ErrorDefinition, "when" | "next" | "retryable"> {
  readonly code: string;
  /** The folder of src/. */
  readonly capability: string;
  /** What http answers with; a code without a row of its own is a fault of the program. */
  readonly status: number;
}

/** The files that declare codes. */
export const catalogFiles = (): string[] =>
  globSync(["src/*/errors.ts", "src/core/error-table.ts"], { cwd: root })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => path !== "src/core/errors.ts")
    .toSorted();

/** Every row of every catalog, in the order of folders and of the tables. */
export async function errorRows(): Promise<ErrorRow[]> {
  const rows: ErrorRow[] = [];
  for (const file of catalogFiles()) {
    const exported = (await import(pathToFileURL(join(root, file)).href)) as Record<
      string,
      { readonly table?: Readonly<Record<string, ErrorDefinition>> }
    >;
    for (const catalog of Object.values(exported)) {
      for (const [code, { when, next, retryable }] of Object.entries(catalog.table ?? {})) {
        rows.push({ code, capability: file.split("/")[1]!, status: problemTable[code]?.status ?? 500, when, next, retryable });
      }
    }
  }
  return rows;
}

/** Codes that http gives a status. */
export const codesWithStatus = (): string[] => Object.keys(problemTable);

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "&lt;");

/** The part of the page between the marks. */
export function renderRows(rows: readonly ErrorRow[]): string {
  const capabilities = [...new Set(rows.map(({ capability }) => capability))];
  return capabilities
    .map((capability) => {
      const lines = rows
        .filter((row) => row.capability === capability)
        .map(
          (row) => `| \`${row.code}\` | ${row.status} | ${row.retryable ? "yes" : "no"} | ${cell(row.when)} | ${cell(row.next)} |`,
        );
      return `\n## ${capability}\n\n| code | status | retryable | raised when | what to do |\n| --- | --- | --- | --- | --- |\n${lines.join("\n")}\n`;
    })
    .join("");
}

/** `page` with its table as the code has it. */
export function withRows(page: string, rows: readonly ErrorRow[]): string {
  const begin = page.indexOf(marks.begin);
  const end = page.indexOf(marks.end);
  if (begin === -1 || end < begin) throw new Error(`docs/errors.md needs ${marks.begin} and ${marks.end}.`);
  return `${page.slice(0, begin + marks.begin.length)}\n${renderRows(rows)}\n${page.slice(end)}`;
}
