// A running fixtures/app.ts, as the tests handle it: wait for what it says, tell it to close, kill it.

import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { prepareCluster } from "../../src/database/embedded/index.ts";
import { identify, readPostmasterFile, stopPostmaster } from "../../src/database/embedded/postmaster.ts";

export const checkout = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** What the program says; see fixtures/app.ts. */
export interface AppMessage {
  readonly event: "log" | "ready" | "failed" | "acknowledged" | "refused" | "closed";
  readonly message?: string;
  readonly code?: string;
  readonly url?: string;
  readonly pid?: number;
  readonly id?: number;
  readonly logFile?: string;
  readonly dataDir?: string;
}

export interface AppProcessOptions {
  readonly dataDir: string;
  readonly root?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly startTimeout?: `${number}s`;
  readonly handles?: number;
  readonly uid?: number;
  /** The Node to run it on. Default: this process's. */
  readonly node?: string;
}

/** Longer than anything here takes on a busy machine; what exceeds it is stuck. */
export const boundMs = 60_000;

/** Resolves when `condition` holds, looking every few milliseconds; rejects after the bound. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + boundMs;
  while (!(await condition())) {
    if (performance.now() > untilMs) throw new Error(`Did not happen within ${boundMs} ms: ${what}`);
    await sleep(5);
  }
}

export class AppProcess implements AsyncDisposable {
  readonly messages: AppMessage[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #over = false;
  #errors = "";

  constructor({ root = checkout, uid, node = process.execPath, ...options }: AppProcessOptions) {
    const program = join(root, "test/embedded/fixtures/app.ts");
    const identity = uid === undefined ? {} : { uid, gid: uid };
    this.#child = spawn(node, ["--conditions=millrace-source", program, JSON.stringify({ root, ...options })], {
      stdio: ["pipe", "pipe", "pipe"],
      cwd: "/",
      ...identity,
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.messages.push(JSON.parse(line) as AppMessage));
    this.#child.stderr!.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#child.stdin!.on("error", () => {});
    this.#ended = new Promise((resolve) =>
      this.#child.once("close", () => {
        this.#over = true;
        resolve();
      }),
    );
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get logged(): string {
    return this.messages.flatMap(({ event, message }) => (event === "log" ? [message!] : [])).join("\n");
  }

  get acknowledged(): number[] {
    return this.messages.flatMap(({ event, id }) => (event === "acknowledged" ? [id!] : []));
  }

  /** The first message of one kind, waiting for it. */
  async next(event: AppMessage["event"], matches: (message: AppMessage) => boolean = () => true): Promise<AppMessage> {
    const find = (): AppMessage | undefined => this.messages.find((message) => message.event === event && matches(message));
    await until(`${event} from the program`, () => find() !== undefined || this.#over);
    const found = find();
    if (!found)
      throw new Error(
        `The program ended without "${event}". It said:\n${JSON.stringify(this.messages.slice(-20))}\n${this.#errors}`,
      );
    return found;
  }

  send(command: "write" | "close"): void {
    this.#child.stdin!.write(`${command}\n`);
  }

  /** Closes in order and resolves when the process has ended by itself. */
  async close(): Promise<void> {
    this.send("close");
    await this.next("closed");
    await this.#ended;
  }

  /** Nothing more will be asked of it. */
  endInput(): void {
    this.#child.stdin!.end();
  }

  /** Resolves when the process has ended, however. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) await this.kill();
  }
}

/** An empty directory for a database. Disposing it stops a server that a killed program left, and removes everything. */
export async function temporaryDirectory(parent: string = tmpdir()): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(parent, "millrace-embedded-"));
  // As a project's directory usually is. Where only the owner may enter, a test says so.
  await chmod(path, 0o755);
  return {
    path,
    async [Symbol.asyncDispose]() {
      const pid = await identifyServer(path);
      if (pid !== undefined) for (const pgdata of await clustersIn(path)) await stopPostmaster(pid, pgdata);
      // A program that was killed while it ran initdb leaves that at work for a moment.
      await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    },
  };
}

/** The same with a database in it, made without waiting for the disk; what runs on it afterwards is as durable as ever. */
export async function preparedDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await temporaryDirectory();
  await prepareCluster(directory.path, () => {}, false);
  return directory;
}

/** PostgreSQL's data directories in a directory of the embedded server. */
const clustersIn = async (dataDir: string): Promise<string[]> =>
  (await readdir(dataDir).catch((): string[] => [])).filter((name) => /^pg\d+$/.test(name)).map((name) => join(dataDir, name));

/** The number of the server that runs on a directory, if one does. */
export async function identifyServer(dataDir: string): Promise<number | undefined> {
  for (const pgdata of await clustersIn(dataDir)) {
    const file = await readPostmasterFile(pgdata);
    if (file && (await identify(file.pid, pgdata)) === "postmaster") return file.pid;
  }
  return undefined;
}

/** Whether a process runs. One that is ending has no command line any more, some time before it has gone from the process table. */
export const isAlive = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")) !== "";

/** The processes of a server: all of the session that its first process leads. */
export async function serverProcesses(pid: number): Promise<number[]> {
  const found: number[] = [];
  for (const name of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const fields = (await readFile(`/proc/${name}/stat`, "utf8").catch(() => "")).replace(/^.*\) /s, "").split(" ");
    if (fields[3] === String(pid)) found.push(Number(name));
  }
  return found;
}

/** Rows of one statement on a connection of its own. */
export async function ask<Row extends pg.QueryResultRow>(url: string, statement: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Row>(statement)).rows;
  } finally {
    await client.end();
  }
}
