// Uploading a file of observations: 202, its task and its events, what is taken and what is refused, who sees it, and what is left when
// something goes wrong.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, statfs, utimes, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { etlRunChannel, sql, taskEndChannel } from "millrace";
import { openUploads, removeStrayUploads } from "../../examples/weather/src/imports/uploads.ts";
import { type Json, type Page, type Weather, newYork, seattle, serve, startWeather, until } from "./harness.ts";

const realFile = fileURLToPath(new URL("../../examples/weather/data/weather-seattle-newyork-daily.csv", import.meta.url));
const execute = promisify(execFile);
const header = "location,date,precipitation,temp_max,temp_min,wind,weather\n";

interface Event {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: Json;
}

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

  /** The end of the next attempt at an import. */
  const nextEnd = () => taskEndChannel.next(({ name }) => name === "import-observations", AbortSignal.timeout(30_000));

  /** All events of a task, until the server ends the stream. */
  async function eventsOf(taskId: string): Promise<Event[]> {
    const response = await fetch(`${weather.url}/tasks/${taskId}/events`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    const text = await response.text();
    return text.split("\n\n").flatMap((block) => {
      const [, id, event, data] = /^(?:id: (\w+)\n)?event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      return event === undefined ? [] : [{ id, event, data: JSON.parse(data!) as Json }];
    });
  }

  test("answers 202 with a task; its events tell how far it is; the rows are in cached answers by themselves", async () => {
    await weather.database.query(sql`delete from observations where city_id = ${newYork}`);
    const list = () => weather.get<Page<{ date: string }>>(`/cities/${newYork}/observations?limit=1`);
    const months = () => weather.get<Page<{ month: string; days: number }>>(`/cities/${newYork}/months?limit=1`);
    for (const empty of [list, months]) {
      await until("the empty list is cached", async () => /hit/.test((await empty()).headers.get("cache-status") ?? ""));
      assert.deepEqual((await empty()).body.data, []);
    }

    const { status, headers, body } = await upload(await readFile(realFile, "utf8"));
    assert.equal(status, 202);
    assert.equal(headers.get("location"), `/imports/${String(body["id"])}`);
    assert.equal(body["state"], "waiting");

    const events = await eventsOf(String(body["taskId"]));
    assert.deepEqual(events.at(-1), {
      id: "end",
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
    await until("so have the months", async () => (await months()).body.data[0]?.days === 31, 20_000);
    assert.equal((await months()).body.data[0]!.month, "2015-12-01");
    await until("the file is gone", async () => (await readdir(directory)).length === 0);
    const again = await upload(await readFile(realFile, "utf8"));
    await eventsOf(String(again.body["taskId"]));
    assert.equal((await weather.get(`/imports/${String(again.body["id"])}`, token)).body["rowsChanged"], 0);
  });

  test("who connects again to the events of a task that is over is told that there will be none", async () => {
    const { body } = await upload(`${header}Seattle,2016-02-01,0,9,2,1,sun\n`);
    const taskId = String(body["taskId"]);
    const events = await eventsOf(taskId);
    assert.equal(events.at(-1)!.id, "end");
    assert.equal((await eventsOf(taskId)).length, 1, "whoever asks for the first time gets the end");
    const headers = { authorization: `Bearer ${token}`, "last-event-id": "end" };
    const again = await fetch(`${weather.url}/tasks/${taskId}/events`, { headers });
    assert.deepEqual([again.status, await again.text()], [204, ""]);
  });

  test("who leaves the events is not waited for, and a service that stops does not wait for who stays", async () => {
    await using other = await serve(weather.databaseUrl, { uploadDir: directory });
    await weather.tasks!.store.pause("imports");
    const { body } = await upload(`${header}Seattle,2016-02-02,0,9,2,1,sun\n`);
    const open = async (url: string, signal?: AbortSignal) => {
      const path = `/tasks/${String(body["taskId"])}/events`;
      const response = await fetch(url + path, { headers: { authorization: `Bearer ${token}` }, signal: signal ?? null });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      assert.match((await reader.read()).value!, /^event: progress\ndata: \{.*"state":"waiting"/);
      return reader;
    };
    await until("nobody watches", () => !taskEndChannel.hasSubscribers);
    const leaving = new AbortController();
    await open(weather.url, leaving.signal);
    assert.equal(taskEndChannel.hasSubscribers, true);
    leaving.abort();
    await until("nobody watches any more", () => !taskEndChannel.hasSubscribers);

    const staying = await open(other.url);
    await other[Symbol.asyncDispose]();
    assert.equal((await staying.read()).done, true, "without an end: its client asks another process");
    await until("nobody watches any more", () => !taskEndChannel.hasSubscribers);
    await weather.tasks!.store.resume("imports");
    const events = await eventsOf(String(body["taskId"]));
    assert.equal(events.at(-1)!.data["state"], "completed");
  });

  test("new rows are in cached answers at once in the process that imports, and every bad one is in the report with its line", async () => {
    const list = () => weather.get<Page<{ date: string; tempMaxC: number }>>(`/cities/${seattle}/observations?limit=1`);
    await until("the list is cached", async () => /hit/.test((await list()).headers.get("cache-status") ?? ""));
    const lines = [
      "Seattle,2017-01-01,0,9.5,2.5,1,sun",
      `${newYork},2017-01-01,0,3,-1,1,snow`,
      "Nowhere at All,2017-01-01,0,9,2,1,sun",
      "Seattle,2017-02-30,0,9,2,1,sun",
      "Seattle,2017-01-02,0,2,9,1,sun",
      "Seattle,2017-01-02,nan,9,2,1,sun",
      "Seattle,2017-01-02,0,9,2,1,hail",
      "Seattle,2017-01-02,,9,2,1,sun",
      "Seattle,3016-01-02,0,9,2,1,sun",
      "Seattle,2017-01-02,0,9,2,1",
    ];
    const { body } = await upload(header.replace("\n", "\r\n") + lines.join("\r\n"));
    await eventsOf(String(body["taskId"]));
    assert.deepEqual((await list()).body.data[0], {
      date: "2017-01-01",
      precipitationMm: 0,
      tempMaxC: 9.5,
      tempMinC: 2.5,
      windMps: 1,
      weather: "sun",
    });
    const report = await weather.get<string>(`/imports/${String(body["id"])}/report`, token);
    const rejected = String(report.body).trim().split("\n");
    assert.deepEqual(
      rejected.map((line) => {
        const { line: number, column, reason } = JSON.parse(line) as Json;
        return [number, column, reason];
      }),
      [
        [4, undefined, 'there is no city "Nowhere at All"'],
        [5, "date", '"2017-02-30" is no DATE'],
        [6, undefined, "temp_max is below temp_min"],
        [7, undefined, "precipitation is out of range"],
        [8, undefined, "weather is none of drizzle, fog, rain, snow, sun"],
        [9, "precipitation", "a value is required"],
        [10, undefined, "date is out of range"],
        [11, undefined, "it has 6 fields where 7 are expected"],
      ],
    );
    const { body: done } = await weather.get(`/imports/${String(body["id"])}`, token);
    assert.deepEqual([done["rowsRead"], done["rowsRejected"], done["rowsChanged"]], [10, 8, 2]);
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

  // Mounting needs root; CI and the containers that the kit is tested in are root.
  if (process.getuid!() === 0) {
    test("on a disk that fills up it waits for room, with nothing half-done, and is done when there is some", async () => {
      const { store } = weather.tasks!;
      await execute("mount", ["-t", "tmpfs", "-o", "size=270m", "tmpfs", directory]);
      try {
        await store.pause("imports");
        const { body } = await upload(`${header}Seattle,2016-05-01,0,9,2,1,sun\nSeattle,2016-05-02,wet,9,2,1,sun\n`);
        const [id, taskId] = [String(body["id"]), String(body["taskId"])];
        const { bavail, bsize } = await statfs(directory);
        await execute("fallocate", ["-l", String(bavail * bsize), join(directory, "filler")]);
        const failed = nextEnd();
        await store.resume("imports");
        const { outcome, error } = await failed;
        assert.deepEqual([outcome, (error as { code?: string }).code], ["retried", "MILLRACE_ETL_DISK_FULL"]);
        assert.deepEqual((await readdir(directory)).toSorted(), [`${id}.csv`, "filler"].toSorted());
        assert.equal((await weather.get(`/imports/${id}`, token)).body["state"], "waiting");
        const day = sql`select 1 from observations where city_id = ${seattle} and date = '2016-05-01'`;
        assert.equal(await weather.database.maybeOne(day), undefined);

        await rm(join(directory, "filler"));
        await store.makeDue(taskId);
        await eventsOf(taskId);
        const { body: done } = await weather.get(`/imports/${id}`, token);
        assert.deepEqual([done["state"], done["rowsChanged"], done["rowsRejected"]], ["done", 1, 1]);
        assert.ok(await weather.database.maybeOne(day));
      } finally {
        await execute("umount", ["--lazy", directory]);
      }
    });
  }

  test("one that is given up says so and keeps its file; tried again by an operator, it is done", async () => {
    await weather.database.query(sql`alter table observations rename to observations_away`);
    const ended = nextEnd();
    const { body } = await upload(`${header}Seattle,2016-04-01,0,9,2,1,sun\n`);
    const [id, taskId] = [String(body["id"]), String(body["taskId"])];
    assert.equal((await ended).outcome, "dead"); // no later attempt would find the table
    await weather.database.query(sql`alter table observations_away rename to observations`);
    const { body: failed } = await weather.get(`/imports/${id}`, token);
    assert.deepEqual([failed["state"], failed["failure"]], ["failed", "It could not be done, and was given up at attempt 1."]);
    assert.deepEqual(await readdir(directory), [`${id}.csv`]);
    await weather.tasks!.store.redrive({ ids: [taskId], limit: 1 });
    await eventsOf(taskId);
    assert.equal((await weather.get(`/imports/${id}`, token)).body["state"], "done");
    await until("the file is gone", async () => (await readdir(directory)).length === 0);
  });

  test("an import that is killed in the middle is done by the next attempt", async () => {
    const ended = etlRunChannel.next(({ outcome }) => outcome !== "done");
    const rows = Array.from({ length: 100_000 }, (_, day) => {
      const date = new Date(Date.UTC(1740, 0, 1) + day * 86_400_000).toISOString().slice(0, 10);
      return `${seattle},${date},0,9,2,1,sun\n`;
    });
    const { body } = await upload(header + rows.join(""));
    // The process that does the work has the directory of its run open.
    const { stdout } = await found(async () => execute("pgrep", ["-f", "--parent", String(process.pid), "etl/child/main"]));
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
    await execute("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    try {
      const uploads = await openUploads(join(disk, "uploads"));
      await assert.rejects(uploads.requireRoom(1), { status: 507 });
      const stream = Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(65_536)));
      await assert.rejects(uploads.receive(stream, new AbortController().signal), { status: 507, code: "STORAGE_FULL" });
      assert.deepEqual(await readdir(join(disk, "uploads")), []);
    } finally {
      await execute("umount", ["--lazy", disk]);
      await rm(disk, { recursive: true });
    }
  });
}
