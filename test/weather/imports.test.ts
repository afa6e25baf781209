// Uploading a file: 202, its task, its report, and what is left when something goes wrong.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { etlRunChannel, sql } from "millrace";
import { openUploads, removeStrayUploads } from "../../examples/weather/src/imports/uploads.ts";
import { type Json, type Page, type Weather, newYork, seattle, startWeather, until } from "./harness.ts";

const realFile = fileURLToPath(new URL("../../examples/weather/data/weather-seattle-newyork-daily.csv", import.meta.url));
const header = "location,date,precipitation,temp_max,temp_min,wind,weather\n";

suite("POST /imports", () => {
  let weather: Weather;
  let directory: string;
  let token: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "weather-uploads-"));
    weather = await startWeather({ uploadDir: directory });
    ({ token } = await weather.user());
  });
  after(async () => {
    await weather[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const upload = async (content: string | Uint8Array<ArrayBuffer>, as = token) => {
    const body = new FormData();
    body.set("file", new Blob([content], { type: "text/csv" }), "weather.csv");
    const response = await fetch(`${weather.url}/imports`, { method: "POST", headers: { authorization: `Bearer ${as}` }, body });
    return { status: response.status, headers: response.headers, body: (await response.json()) as Json };
  };

  /** All events of a task, until the server ends the stream. */
  async function eventsOf(taskId: string): Promise<{ readonly event: string; readonly data: Json }[]> {
    const response = await fetch(`${weather.url}/tasks/${taskId}/events`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    const text = await response.text();
    return text.split("\n\n").flatMap((block) => {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      return event === undefined ? [] : [{ event, data: JSON.parse(data!) as Json }];
    });
  }

  test("answers 202 with a task; its events tell how far it is; the rows are in cached answers by themselves", async () => {
    await weather.database.query(sql`delete from observations where city_id = ${newYork}`);
    const list = () => weather.get<Page<{ date: string }>>(`/cities/${newYork}/observations?limit=1`);
    await until("the empty list is cached", async () => /hit/.test((await list()).headers.get("cache-status") ?? ""));
    assert.deepEqual((await list()).body.data, []);

    const { status, headers, body } = await upload(await readFile(realFile, "utf8"));
    assert.equal(status, 202);
    assert.equal(headers.get("location"), `/imports/${String(body["id"])}`);
    assert.equal(body["state"], "waiting");

    const events = await eventsOf(String(body["taskId"]));
    assert.deepEqual(events.at(-1), {
      event: "end",
      data: {
        id: body["taskId"],
        name: "import-observations",
        state: "completed",
        attempt: 1,
        progress: events.at(-1)!.data["progress"],
      },
    });
    assert.ok(events.slice(0, -1).every(({ event }) => event === "progress"));
    const { body: task } = await weather.get(`/tasks/${String(body["taskId"])}`, token);
    assert.equal(task["state"], "completed");

    const { body: done } = await weather.get(`/imports/${String(body["id"])}`, token);
    assert.deepEqual(
      [done["state"], done["rowsRead"], done["rowsChanged"], done["rowsRejected"], done["failure"]],
      ["done", 2_922, 1_461, 0, null],
    );
    await until("the list has the new rows", async () => (await list()).body.data[0]?.date === "2015-12-31", 20_000);
    assert.deepEqual(await readdir(directory), []);
  });

  test("bad rows are in the report, line by line, for nobody else to read", async () => {
    const { body } = await upload(`${header}Seattle,2016-03-01,0,9,2,1,sun\nSeattle,2016-03-02,wet,9,2,1,sun\n`);
    await eventsOf(String(body["taskId"]));
    const report = await weather.get<string>(`/imports/${String(body["id"])}/report`, token);
    assert.match(report.headers.get("content-type") ?? "", /^application\/x-ndjson/);
    assert.deepEqual(JSON.parse(String(report.body)), {
      line: 3,
      column: "precipitation",
      value: "wet",
      reason: '"wet" is no DOUBLE',
    });
    const { token: other } = await weather.user("Bob");
    for (const path of [
      `/imports/${String(body["id"])}`,
      `/imports/${String(body["id"])}/report`,
      `/tasks/${String(body["taskId"])}`,
    ]) {
      assert.equal((await weather.get(path, other)).status, 404);
      assert.equal((await weather.get(path)).status, 401);
    }
  });

  test("a file that is no such table fails once and says why, without the server's paths", async () => {
    const { body } = await upload("city,day\nSeattle,2016-01-01\n");
    const events = await eventsOf(String(body["taskId"]));
    assert.deepEqual([events.at(-1)!.data["state"], events.at(-1)!.data["attempt"]], ["completed", 1]);
    const { body: failed } = await weather.get(`/imports/${String(body["id"])}`, token);
    assert.equal(failed["state"], "failed");
    assert.match(String(failed["failure"]), /^The columns of the file are not the expected ones: missing are "location"/);
    assert.deepEqual(await readdir(directory), []);
  });

  test("an upload that is cut off leaves no file, no import and no task", async () => {
    const count = async () => (await weather.database.one(sql<{ n: number }>`select count(*)::int as n from imports`)).n;
    const before = await count();
    const cut = request(`${weather.url}/imports`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "multipart/form-data; boundary=x",
        "content-length": 10_000_000,
      },
    });
    cut.on("error", () => {});
    cut.write(
      `--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n${header}${"Seattle,2016-01-01,0,9,2,1,sun\n".repeat(10_000)}`,
    );
    await until("some of it is on disk", async () => (await readdir(directory)).length === 1);
    cut.destroy();
    await until("it is gone", async () => (await readdir(directory)).length === 0);
    assert.equal(await count(), before);
  });

  test("without a file, a name, or room for what is announced it is refused", async () => {
    const form = (headers: Record<string, string>) =>
      fetch(`${weather.url}/imports`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "multipart/form-data; boundary=x", ...headers },
        body: "--x--\r\n",
      });
    assert.equal(((await (await form({})).json()) as Json)["code"], "FILE_MISSING");
    assert.equal((await upload(header, "nobody")).status, 401);
    const headers = { authorization: `Bearer ${token}`, "content-type": "multipart/form-data; boundary=x", "content-length": 1e15 };
    const huge = request(`${weather.url}/imports`, { method: "POST", headers });
    huge.on("error", () => {});
    huge.write("--x\r\n");
    const [response] = (await once(huge, "response")) as [IncomingMessage];
    assert.equal(response.statusCode, 507);
    huge.destroy();
  });

  test("what a killed process left is removed, and what waits is not", async () => {
    const stray = join(directory, "00000000-0000-4000-8000-000000000001.csv");
    const young = join(directory, "00000000-0000-4000-8000-000000000002.csv");
    await writeFile(stray, "half");
    await writeFile(young, "half");
    const hoursAgo = new Date(Date.now() - 7_200_000);
    await utimes(stray, hoursAgo, hoursAgo);
    await removeStrayUploads(weather.database, directory, Date.now());
    assert.deepEqual(await readdir(directory), ["00000000-0000-4000-8000-000000000002.csv"]);
    await rm(young);
  });

  test("an import that is killed in the middle is done by the next attempt", async () => {
    const ended = etlRunChannel.next(({ outcome }) => outcome !== "done");
    const rows = Array.from({ length: 100_000 }, (_, day) => {
      const date = new Date(Date.UTC(1740, 0, 1) + day * 86_400_000).toISOString().slice(0, 10);
      return `${seattle},${date},0,9,2,1,sun\n`;
    });
    const { body } = await upload(header + rows.join(""));
    // The process that does the work has the directory of its run open.
    const { stdout } = await found(async () =>
      promisify(execFile)("pgrep", ["-f", "--parent", String(process.pid), "etl/child/main"]),
    );
    process.kill(Number(stdout.trim().split("\n")[0]), "SIGKILL");
    assert.equal((await ended).outcome, "failed");
    const events = await eventsOf(String(body["taskId"]));
    assert.equal(events.at(-1)!.data["state"], "completed");
    assert.equal(events.at(-1)!.data["attempt"], 2);
    const { body: done } = await weather.get(`/imports/${String(body["id"])}`, token);
    assert.deepEqual([done["state"], done["rowsRead"], done["rowsRejected"]], ["done", 100_000, 0]);
  });
});

/** The first result that does not throw, within a bound. */
async function found<Result>(look: () => Promise<Result>): Promise<Result> {
  let result: Result | undefined;
  await until("a process works on it", async () => {
    result = await look().catch(() => undefined);
    return result !== undefined;
  });
  return result!;
}

// Mounting needs root; CI and the containers that the kit is tested in are root.
if (process.getuid!() === 0) {
  test("an upload that fills the disk is a 507, and leaves the disk as it was", async () => {
    const disk = await mkdtemp(join(tmpdir(), "weather-disk-"));
    await promisify(execFile)("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    try {
      const uploads = await openUploads(join(disk, "uploads"));
      await assert.rejects(uploads.requireRoom(1), { status: 507 });
      const stream = Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(65_536)));
      await assert.rejects(uploads.receive(stream, new AbortController().signal), { status: 507, code: "STORAGE_FULL" });
      assert.deepEqual(await readdir(join(disk, "uploads")), []);
    } finally {
      await promisify(execFile)("umount", ["--lazy", disk]);
      await rm(disk, { recursive: true });
    }
  });
}
