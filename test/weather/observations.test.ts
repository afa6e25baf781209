import assert from "node:assert/strict";
import { once } from "node:events";
import { get } from "node:http";
import { after, before, suite, test } from "node:test";
import { sql } from "millrace";
import { type Page, type Weather, newYork, seattle, startWeather, until } from "./harness.ts";

interface Observation {
  date: string;
  precipitationMm: number;
  tempMaxC: number;
  tempMinC: number;
  windMps: number;
  weather: string;
}

/** The rows of an export as the database has them. */
interface Exported extends Observation {
  cityId: number;
  city: string;
}

suite("observations", () => {
  let weather: Weather;
  before(async () => void (weather = await startWeather()));
  after(() => weather[Symbol.asyncDispose]());

  test("both files are loaded whole", async () => {
    const counts = await weather.database.one(sql<{ days: number; hours: number }>`
      select (select count(*)::int from observations) as days, (select count(*)::int from hourly_normals) as hours`);
    assert.deepEqual(counts, { days: 2_922, hours: 8_759 });
  });

  test("the newest day comes first", async () => {
    const { body } = await weather.get<Page<Observation>>(`/cities/${newYork}/observations?limit=2`);
    assert.deepEqual(body.data, [
      { date: "2015-12-31", precipitationMm: 1.5, tempMaxC: 11.1, tempMinC: 6.1, windMps: 5.5, weather: "rain" },
      { date: "2015-12-30", precipitationMm: 9.4, tempMaxC: 10.6, tempMinC: 5, windMps: 3, weather: "rain" },
    ]);
  });

  test("from and to bound the days, both included", async () => {
    const { body } = await weather.get<Page<Observation>>(`/cities/${seattle}/observations?from=2012-02-28&to=2012-03-01`);
    assert.deepEqual(
      body.data.map(({ date }) => date),
      ["2012-03-01", "2012-02-29", "2012-02-28"],
    );
  });

  test("walking all days of a city meets each once", async () => {
    const dates: string[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const { body }: { body: Page<Observation> } = await weather.get<Page<Observation>>(
        `/cities/${seattle}/observations?limit=100${cursor && `&cursor=${cursor}`}`,
      );
      dates.push(...body.data.map(({ date }) => date));
      cursor = body.page.next;
    }
    assert.equal(dates.length, 1_461);
    assert.deepEqual(dates, [...new Set(dates)].sort().reverse());
  });

  test("a city without measurements has an empty list", async () => {
    const { status, body } = await weather.get<Page<Observation>>("/cities/1796236/observations");
    assert.deepEqual([status, body.data], [200, []]);
  });

  test("the hourly normals follow the year", async () => {
    const { body } = await weather.get<Page>(`/cities/${seattle}/normals?limit=1`);
    assert.deepEqual(body.data, [{ month: 1, day: 1, hour: 1, pressureHpa: 1016.6, temperatureC: 4, windMps: 3.8 }]);
  });

  const text = async (path: string) => {
    const response = await fetch(weather.url + path);
    assert.equal(response.status, 200);
    return { text: await response.text(), headers: response.headers };
  };

  test("the export holds every day in each format, and says at its end that it is whole", async () => {
    const rows = await weather.database.many(sql<Exported>`
      select city_id as "cityId", name as city, date, precipitation_mm as "precipitationMm", temp_max_c as "tempMaxC",
        temp_min_c as "tempMinC", wind_mps as "windMps", weather
      from observations join cities on cities.id = city_id order by city_id, date`);

    const ndjson = await text("/observations/export");
    const lines = ndjson.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    assert.deepEqual(lines.pop(), { end: true, rows: 2_922 });
    assert.deepEqual(lines, rows);
    assert.equal(ndjson.headers.get("content-disposition"), 'attachment; filename="observations.ndjson"');
    assert.match(ndjson.headers.get("content-type") ?? "", /ndjson/);

    assert.deepEqual(JSON.parse((await text("/observations/export?format=json")).text), rows);

    const csv = (await text("/observations/export?format=csv")).text.trimEnd().split(/\r?\n/);
    assert.equal(csv[0], "cityId,city,date,precipitationMm,tempMaxC,tempMinC,windMps,weather");
    assert.deepEqual(
      csv.slice(1),
      rows.map((row) => Object.values(row).join(",")),
    );
  });

  test("the export of one city holds that city, and that of no city is a 404", async () => {
    const one = await text(`/observations/export?format=json&cityId=${seattle}`);
    const rows = JSON.parse(one.text) as Exported[];
    assert.equal(rows.length, 1_461);
    assert.ok(rows.every(({ cityId }) => cityId === seattle));
    assert.equal((await weather.get("/observations/export?cityId=1")).status, 404);
  });

  test("a client that leaves in the middle of an export ends its statement on the server", async () => {
    await weather.database.query(sql`
      insert into observations select 1796236, '0001-01-01'::date + day, 0, 0, 0, 0, 'sun' from generate_series(0, 400000) as day`);
    const running = async () =>
      (
        await weather.database.one(sql<{ count: number }>`
        select count(*)::int as count from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle' and query ~* 'copy|observations'`)
      ).count;

    const request = get(`${weather.url}/observations/export?cityId=1796236`, { agent: false });
    const [response] = (await once(request, "response")) as [NodeJS.ReadableStream];
    await once(response, "readable"); // some of it has arrived; nobody reads on, so that the server stops at full buffers
    await until("the export waits for its reader", async () => (await running()) > 0);
    request.destroy();
    await until("the statement is gone", async () => (await running()) === 0);
  });
});
