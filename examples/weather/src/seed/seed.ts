// Fills an empty database. Each data set is loaded in one transaction together with the row that says so: a start that is
// killed halfway leaves nothing of it behind, and the next one loads it again.

import { type Database, type Transaction, sql } from "millrace";
import { cities } from "./cities.ts";
import { hourlyNormals, observations } from "./observations.ts";

/** Something to load once. */
export interface DataSet {
  readonly name: string;
  /** Returns the number of rows that it has loaded. */
  load(tx: Transaction, onProgress: (done: number, total: number) => void): Promise<number>;
}

/** In order: a data set refers to those before it. */
const dataSets: readonly DataSet[] = [cities, observations, hourlyNormals];

export type OnProgress = (name: string, done: number, total: number) => void;

/** Loads what has not been loaded yet. */
export async function seed(database: Database, onProgress: OnProgress, signal?: AbortSignal): Promise<void> {
  const loaded = new Set((await database.many(sql<{ name: string }>`select name from data_sets`)).map(({ name }) => name));
  for (const dataSet of dataSets) {
    if (!loaded.has(dataSet.name)) await database.transaction((tx) => load(tx, dataSet, onProgress), { signal });
  }
}

async function load(tx: Transaction, dataSet: DataSet, onProgress: OnProgress): Promise<void> {
  const { name } = dataSet;
  // A second process that starts at the same time waits here for the first one's row, and finds that there is nothing to do.
  const { rowCount } = await tx.query(sql`insert into data_sets (name, rows) values (${name}, 0) on conflict do nothing`);
  if (rowCount === 0) return;
  const rows = await dataSet.load(tx, (done, total) => onProgress(name, done, total));
  await tx.query(sql`update data_sets set rows = ${rows} where name = ${name}`);
}
