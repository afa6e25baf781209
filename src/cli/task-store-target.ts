// The store that a command about tasks works on: the tables in the database of --database-url and its kin, or a Redis.

import { type Command, InvalidArgumentError, Option } from "commander";
import { createDatabase, startEmbeddedPostgres } from "../database/index.ts";
import { type TaskStore, postgresTaskStore, redisTaskStore } from "../tasks/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

export interface TaskStoreOptions extends TargetOptions {
  readonly redisUrl?: string;
  readonly redisPrefix?: string;
  readonly json?: true;
}

/** Adds the options to a command. */
export function withTaskStore(command: Command): Command {
  return withTarget(command)
    .addOption(new Option("--redis-url <url>", "tasks that are kept in this Redis instead").conflicts(["databaseUrl", "dataDir"]))
    .option("--redis-prefix <prefix>", "what its keys begin with, where the application says so")
    .option("--json", "for programs: one line of JSON each");
}

/** Runs `work` on the store; the embedded server is started for it when it does not run. */
export async function onTaskStore<T>(options: TaskStoreOptions, work: (store: TaskStore) => Promise<T>): Promise<T> {
  const { redisUrl: url, redisPrefix: prefix } = options;
  if (url !== undefined) {
    await using store = redisTaskStore({ url, ...(prefix !== undefined && { prefix }) });
    return await work(store);
  }
  const target = targetOf(options);
  await using server =
    target.kind === "embedded" ? await startEmbeddedPostgres({ dataDir: target.dataDir, database: target.database }) : undefined;
  await using database = await createDatabase({
    url: target.kind === "server" ? target.url : server!.url,
    applicationName: "millrace tasks",
  });
  await using store = postgresTaskStore({ database });
  return await work(store);
}

export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** A whole number of at least 1, from an option. @throws a sentence, which commander shows */
export function count(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 1 || value > max)
      throw new InvalidArgumentError(`It is a number from 1 to ${max}.`);
    return value;
  };
}
