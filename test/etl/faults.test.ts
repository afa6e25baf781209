// What a run leaves when it is ended, killed or out of room: nothing.

import assert from "node:assert/strict";
import { type ChildProcess, execFile, fork } from "node:child_process";
import { mkdir, readFile, readdir, stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { sql } from "../../src/database/index.ts";
import { type EtlOptions, etl, etlProgressChannel, etlRunChannel } from "../../src/etl/index.ts";
import { eventually } from "../harness/patience.ts";
import { type Place, place, placeAt } from "./directories.ts";

const execute = promisify(execFile);

const numbers = (rows: number) => `n\n${Array.from({ length: rows }, (_, n) => n).join("\n")}\n`;
const transform = (name: string): EtlOptions["transform"] => ({
  module: new URL("./fixtures/transforms.ts", import.meta.url),
  name,
  columns: { n: "INTEGER" },
});

/** The processes that work in a directory: each has its files open there. */
async function workersIn(path: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const files = await readdir(`/proc/${pid}/fd`).catch((): string[] => []);
      const links = await Promise.all(files.map((file) => readlinkOf(`/proc/${pid}/fd/${file}`)));
      return links.some((link) => link.startsWith(`${path}/millrace-etl-`)) ? Number(pid) : undefined;
    }),
  );
  return found.filter((pid) => pid !== undefined);
}
const readlinkOf = async (path: string): Promise<string> => {
  const { readlink } = await import("node:fs/promises");
  return await readlink(path).catch(() => "");
};

suite("a run that is ended", () => {
  const stages: readonly [string, EtlOptions["transform"]][] = [
    ["in SQL that would take hours", sql`select count(*) as n from input a, input b, input c where a.n + b.n = c.n`],
    ["in a generator that waits", transform("stuck")],
    ["in a generator that never gives the processor back", transform("endless")],
  ];
  for (const [name, slow] of stages) {
    test(`${name}, by its signal, is gone at once with everything that it had`, async () => {
      await using at = await place();
      const file = await at.write("in.csv", numbers(50_000));
      const leaving = new AbortController();
      const transforming = etlProgressChannel.next(({ stage }) => stage !== "reading");
      const run = etl({
        source: { file, format: "csv", columns: { n: "INTEGER" } },
        transform: slow!,
        target: { file: at.file("out.csv"), format: "csv" },
        report: at.file("report.ndjson"),
        directory: at.path,
        signal: leaving.signal,
      });
      run.catch(() => {});
      // A generator that never yields the processor lets nobody tell how far it is: then its process alone is looked for.
      const started = eventually("its process works", async () => (await workersIn(at.path)).length === 1);
      await (name.includes("never") ? started : transforming);
      const ended = etlRunChannel.next();
      const leftMs = performance.now();
      leaving.abort(new Error("enough"));
      await assert.rejects(run, /enough/);
      assert.ok(performance.now() - leftMs < 5_000, "within a second, and generously on a busy machine");
      assert.equal((await ended).outcome, "cancelled");
      assert.deepEqual(await at.names(), ["in.csv"]);
      assert.deepEqual(await workersIn(at.path), []);
    });
  }

  test("while its stream still comes is gone with what had come", async () => {
    await using at = await place();
    const leaving = new AbortController();
    const stream = new Readable({ read() {} });
    stream.push("n\n1\n");
    const run = etl({
      source: { stream, format: "csv" },
      target: { file: at.file("out.csv"), format: "csv" },
      directory: at.path,
      signal: leaving.signal,
    });
    run.catch(() => {});
    await eventually("some of it is on disk", async () => (await at.names()).length > 0);
    leaving.abort(new Error("enough"));
    await assert.rejects(run, /enough/);
    assert.deepEqual([await at.names(), stream.destroyed], [[], true]);
  });

  test("by a stream that breaks says what the stream says", async () => {
    await using at = await place();
    const stream = Readable.from(
      (async function* () {
        yield Buffer.from("n\n1\n");
        await Promise.resolve();
        throw new Error("the upload was cut off");
      })(),
    );
    const target = { file: at.file("out.csv"), format: "csv" } as const;
    await assert.rejects(etl({ source: { stream, format: "csv" }, target, directory: at.path }), /the upload was cut off/);
    assert.deepEqual(await at.names(), []);
  });
});

suite("a process that is lost", () => {
  test("is an error that says how, and nothing is left", async () => {
    await using at = await place();
    const file = await at.write("in.csv", numbers(10));
    const source = { file, format: "csv", columns: { n: "INTEGER" } } as const;
    const target = { file: at.file("out.csv"), format: "csv" } as const;
    const run = etl({ source, transform: transform("killed")!, target, directory: at.path });
    await assert.rejects(run, { code: "MILLRACE_ETL_PROCESS_LOST", message: /SIGSEGV/ });
    const greedy = etl({
      source: { ...source, file: await at.write("in.csv", numbers(50_000)) },
      transform: transform("greedy")!,
      target,
      directory: at.path,
      maxHeapMb: 64,
    });
    await assert.rejects(greedy, { code: "MILLRACE_ETL_PROCESS_LOST", message: /heap/i });
    assert.deepEqual(await at.names(), ["in.csv"]);
  });

  /** A service that begins a run and tells when it works. */
  const service = (at: Place): ChildProcess =>
    fork(fileURLToPath(new URL("./fixtures/service.ts", import.meta.url)), [at.path], {
      execArgv: ["--conditions=millrace-source"],
    });

  test("with the service: the worker cleans up when the service is killed, and the next run when both are", async () => {
    await using at = await place();
    await at.write("in.csv", numbers(1_000));
    const first = service(at);
    const [worker] = await eventually("the worker works", async () => {
      const found = await workersIn(at.path);
      return found.length > 0 && found;
    });
    assert.ok(worker !== undefined && worker !== first.pid);
    first.kill("SIGKILL");
    await eventually("nothing is left", async () => (await at.names()).join() === "in.csv");
    await eventually("the worker is gone", async () => (await workersIn(at.path)).length === 0);

    const second = service(at);
    const [other] = await eventually("the worker works", async () => {
      const found = await workersIn(at.path);
      return found.length > 0 && found;
    });
    process.kill(second.pid!, "SIGSTOP"); // so that neither cleans up for the other
    process.kill(other!, "SIGKILL");
    second.kill("SIGKILL");
    await eventually("the worker is gone", async () => (await workersIn(at.path)).length === 0);
    await new Promise((resolve) =>
      second.exitCode === null && second.signalCode === null ? second.once("exit", resolve) : resolve(0),
    );
    assert.equal((await at.names()).length, 2, "the killed run's directory");
    await etl({
      source: { file: at.file("in.csv"), format: "csv" },
      target: { file: at.file("out.csv"), format: "csv" },
      directory: at.path,
    });
    assert.deepEqual(await at.names(), ["in.csv", "out.csv"]);
  });
});

suite("memory", () => {
  const sorted = (at: Place, memoryLimitMb: number, maxSpillMb: number) =>
    etl({
      source: { file: at.file("in.csv"), format: "csv", columns: { n: "INTEGER" } },
      transform: sql`select hash(n) as h, md5(n::varchar) || md5((n + 1)::varchar) || md5((n + 2)::varchar) || md5((n + 3)::varchar) || md5((n + 4)::varchar) as t from input order by h`,
      target: { file: at.file("out.parquet"), format: "parquet" },
      directory: at.path,
      memoryLimitMb,
      maxSpillMb,
    });

  test("a sort larger than the limit spills; without room to spill it fails with its reason; nothing is left", async () => {
    await using at = await place();
    await at.write("in.csv", numbers(700_000));
    const result = await sorted(at, 128, 10_000);
    assert.equal(result.rowsWritten, 700_000);
    await assert.rejects(sorted(at, 128, 4), { code: "MILLRACE_ETL_DISK_FULL", message: /more than maxSpillMb \(4\)/ });
    assert.deepEqual(await at.names(), ["in.csv", "out.parquet"]);
  });
});

// Mounting needs root; CI and the containers that the kit is tested in are root.
if (process.getuid!() === 0) {
  /** A file system of so many megabytes. */
  async function smallDisk(megabytes: number): Promise<Place> {
    const outer = await place();
    const path = outer.file("disk");
    await mkdir(path);
    await execute("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path]);
    return placeAt(path, async () => {
      await execute("umount", ["--lazy", path]);
      await outer[Symbol.asyncDispose]();
    });
  }

  suite("a full disk", () => {
    test("under the stream, the working files, the result or the report gives one clear error; what was there stays", async () => {
      await using at = await place();
      await using disk = await smallDisk(6);
      const csv = numbers(2_000_000);
      const file = await at.write("in.csv", csv);
      await disk.write("out.csv", "what was there before");
      const columns = { n: "INTEGER" };
      const small = await at.write("small.csv", numbers(200_000));
      const bad = await at.write("bad.csv", `n\n${"no date and long enough that so many do not fit\n".repeat(90_000)}`);
      const roomy = { file: at.file("out.csv"), format: "csv" } as const;
      const runs: readonly EtlOptions[] = [
        { source: { stream: Readable.from([csv]), format: "csv", columns }, target: roomy, directory: disk.path },
        { source: { file, format: "csv", columns }, target: roomy, directory: disk.path },
        {
          source: { file: small, format: "csv", columns },
          transform: sql`select n, repeat('x', 100) as t from input`,
          target: { file: disk.file("out.csv"), format: "csv" },
          directory: at.path,
        },
        {
          source: { file: bad, format: "csv", columns: { n: "DATE" } },
          target: roomy,
          report: disk.file("report.ndjson"),
          directory: at.path,
          maxRejects: 100_000,
        },
      ];
      for (const [index, options] of runs.entries()) {
        await assert.rejects(etl(options), (error: { code: string; message: string }) => {
          assert.equal(error.code, "MILLRACE_ETL_DISK_FULL", `${index}: ${error.message}`);
          assert.match(error.message, /not enough room in .*Make room/s);
          return true;
        });
        assert.deepEqual(
          (await disk.names()).filter((name) => name !== "report.ndjson"),
          ["out.csv"],
          String(index),
        );
        assert.equal(await readFile(disk.file("out.csv"), "utf8"), "what was there before");
        assert.deepEqual(await at.names(), ["bad.csv", "in.csv", "small.csv"]);
      }
      assert.ok((await stat(disk.path)).isDirectory());
    });
  });
}
