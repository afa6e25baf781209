// The CSV files in ../../data. They hold no quotes, so a comma is a comma.

import { readFile } from "node:fs/promises";

const dataDirectory = new URL("../../data/", import.meta.url);

/** The lines of a file without its header, each as the values of its columns. */
export async function readCsv(fileName: string): Promise<string[][]> {
  const [, ...lines] = (await readFile(new URL(fileName, dataDirectory), "utf8")).trimEnd().split("\n");
  return lines.map((line) => line.split(","));
}

/** One column of all lines. */
export const column = (lines: readonly string[][], index: number): string[] => lines.map((line) => line[index]!);
