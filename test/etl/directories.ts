// Where a test's files are, and what a run may not leave there.

import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RejectedRow } from "../../src/etl/index.ts";

export interface Place extends AsyncDisposable {
  readonly path: string;
  file(name: string): string;
  write(name: string, content: string | Uint8Array): Promise<string>;
  text(name: string): Promise<string>;
  /** The rows of a report. */
  report(name?: string): Promise<RejectedRow[]>;
  /** Everything that is there, hidden files too. */
  names(): Promise<string[]>;
}

export async function place(): Promise<Place> {
  const path = await mkdtemp(join(tmpdir(), "millrace-test-etl-"));
  return placeAt(path, () => rm(path, { recursive: true }));
}

export function placeAt(path: string, remove: () => Promise<void>): Place {
  const file = (name: string) => join(path, name);
  const text = (name: string) => readFile(file(name), "utf8");
  return {
    path,
    file,
    text,
    async write(name, content) {
      await writeFile(file(name), content);
      return file(name);
    },
    async report(name = "report.ndjson") {
      const lines = (await text(name)).split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as RejectedRow);
    },
    names: async () => (await readdir(path)).toSorted(),
    [Symbol.asyncDispose]: remove,
  };
}
