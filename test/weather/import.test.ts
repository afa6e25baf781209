// Observations from a file: what is taken, what is refused, and who sees it.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { sql } from "millrace";
import { importObservations } from "../../examples/weather/src/imports/observations-csv.ts";
import { type Page, type Weather, newYork, seattle, startWeather, until } from "./harness.ts";

const realFile = fileURLToPath(new URL("../../examples/weather/data/weather-seattle-newyork-daily.csv", import.meta.url));

suite("importing observations", () => {
  let weather: Weather;
  let directory: string;
  before(async () => {
    weather = await startWeather();
    directory = await mkdtemp(join(tmpdir(), "weather-import-"));
  });
  after(async () => {
    await weather[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const run = async (file: string) => {
    const report = join(directory, "report.ndjson");
    const result = await importObservations(weather.database, file, report);
    const lines = (await readFile(report, "utf8")).split("\n").filter((line) => line !== "");
    return { ...result, report: lines.map((line) => JSON.parse(line) as { line: number; column?: string; reason: string }) };
  };

  test("a real file, by the names of its cities; what is there already is left as it is", async () => {
    await weather.database.query(sql`delete from observations where city_id = ${newYork}`);
    const first = await run(realFile);
    assert.deepEqual([first.rowsRead, first.rowsRejected, first.rowsWritten, first.rowsChanged], [2_922, 0, 2_922, 1_461]);
    assert.equal((await run(realFile)).rowsChanged, 0);
  });

  test("new rows are in cached answers by themselves, and bad ones in the report", async () => {
    const list = () => weather.get<Page<{ date: string; tempMaxC: number }>>(`/cities/${seattle}/observations?limit=1`);
    await list();
    await until("the list is cached", async () => /hit/.test((await list()).headers.get("cache-status") ?? ""));
    const lines = [
      "location,date,precipitation,temp_max,temp_min,wind,weather",
      "Seattle,2016-01-01,0,9.5,2.5,1,sun",
      `${newYork},2016-01-01,0,3,-1,1,snow`,
      "Nowhere at All,2016-01-01,0,9,2,1,sun",
      "Seattle,2016-02-30,0,9,2,1,sun",
      "Seattle,2016-01-02,0,2,9,1,sun",
      "Seattle,2016-01-02,nan,9,2,1,sun",
      "Seattle,2016-01-02,0,9,2,1,hail",
      "Seattle,2016-01-02,,9,2,1,sun",
      "Seattle,3016-01-02,0,9,2,1,sun",
      "Seattle,2016-01-02,0,9,2,1",
    ];
    const file = join(directory, "new.csv");
    await writeFile(file, lines.join("\r\n"));
    const { report, ...result } = await run(file);
    assert.deepEqual(
      report.map(({ line, column, reason }) => [line, column, reason]),
      [
        [4, undefined, 'there is no city "Nowhere at All"'],
        [5, "date", '"2016-02-30" is no DATE'],
        [6, undefined, "temp_max is below temp_min"],
        [7, undefined, "precipitation is out of range"],
        [8, undefined, "weather is none of drizzle, fog, rain, snow, sun"],
        [9, "precipitation", "a value is required"],
        [10, undefined, "date is out of range"],
        [11, undefined, "it has 6 fields where 7 are expected"],
      ],
    );
    assert.deepEqual([result.rowsRead, result.rowsRejected, result.rowsChanged], [10, 8, 2]);
    // In the process that imported, at once.
    assert.deepEqual((await list()).body.data[0], {
      date: "2016-01-01",
      precipitationMm: 0,
      tempMaxC: 9.5,
      tempMinC: 2.5,
      windMps: 1,
      weather: "sun",
    });
  });
});
