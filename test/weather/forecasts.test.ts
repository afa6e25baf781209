// Forecasts: how old they are, what happens when the API that makes them fails, and what ends with the client.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, suite, test } from "node:test";
import { type ManualClock, createDatabase, createManualClock, requestChannel, sql } from "millrace";
import { testDatabase } from "../harness/postgres.ts";
import { open } from "../http/client.ts";
import { type Answer, type Weather, newYork, seattle, serve, startWeather, until } from "./harness.ts";

interface Forecast {
  readonly cityId: number;
  readonly source: string;
  readonly fetchedAt: string;
  readonly ageSeconds: number;
  readonly state: string;
  readonly utcOffsetSeconds: number;
  readonly hours: readonly { readonly time: string; readonly temperatureC: number }[];
}

interface Overview {
  readonly data: readonly {
    readonly city: { readonly id: number; readonly name: string };
    readonly forecast: Forecast | null;
    readonly latestReport: { readonly text: string } | null;
  }[];
  readonly missing: readonly { readonly cityId: number; readonly part: string; readonly reason: string }[];
}

const ageOf = ({ headers }: Answer<unknown>): number => Number(headers.get("age") ?? 0);
const statusOf = ({ headers }: Answer<unknown>): string => headers.get("cache-status")!;

const minuteMs = 60_000;
const capeTown = 3369157;

suite("forecasts", () => {
  let clock: ManualClock;
  let weather: Weather;
  before(async () => {
    clock = createManualClock();
    // The upstream waits longer than any test: a call that ends has been ended.
    const upstream = { deadline: "60s", headersTimeout: "60s" } as const;
    weather = await startWeather({ forecastCache: { clock, earlyRefresh: 0 }, upstream });
  });
  after(() => weather[Symbol.asyncDispose]());
  beforeEach(() => {
    weather.simulator.disturb({});
    clock.advance(24 * 60 * minuteMs); // nothing of what came before is of use
  });
  const forecastOf = (cityId: number) => weather.get<Forecast>(`/cities/${cityId}/forecast`);

  test("a forecast is fetched once, and body, Age and Cache-Status say the same of how old it is", async () => {
    const { asked } = weather.simulator.counts;
    const first = await forecastOf(seattle);
    assert.equal(first.status, 200);
    assert.deepEqual([first.body.source, first.body.state, first.body.ageSeconds], ["simulator", "fresh", 0]);
    assert.equal(first.headers.get("age"), null);
    assert.match(statusOf(first), /^forecasts; fwd=(?:uri-miss|stale); stored; ttl=\d+/);
    assert.equal(first.body.hours.length, 72);
    const midnight = new Date(Date.parse(first.body.hours[0]!.time) + first.body.utcOffsetSeconds * 1_000);
    assert.deepEqual([midnight.getUTCHours(), midnight.getUTCMinutes()], [0, 0]);
    assert.ok(Math.abs(Date.parse(first.body.fetchedAt) - Date.now()) < 30_000);

    clock.advance(90_500);
    const second = await forecastOf(seattle);
    assert.deepEqual([second.body.ageSeconds, ageOf(second), second.body.state], [90, 90, "fresh"]);
    assert.deepEqual([second.body.fetchedAt, second.body.hours], [first.body.fetchedAt, first.body.hours]);
    assert.match(statusOf(second), /^forecasts; hit; ttl=\d+$/);
    assert.equal(second.headers.get("cache-control"), "no-cache");
    const overview = await weather.get<Overview>(`/forecasts?cities=${seattle}`);
    assert.deepEqual([overview.body.data[0]!.forecast!.ageSeconds, ageOf(overview)], [90, 90]);
    assert.equal(weather.simulator.counts.asked, asked + 1);
  });

  test("past its time it is served while a new one is made, with its true age", async () => {
    const { fetchedAt } = (await forecastOf(newYork)).body;
    clock.advance(11 * minuteMs);
    weather.simulator.disturb({ latencyMs: 500 });
    const { asked } = weather.simulator.counts;
    const waiting = forecastOf(newYork);
    await until("the API is asked", () => weather.simulator.counts.asked > asked);
    clock.advance(50); // the soft timeout
    const old = await waiting;
    assert.deepEqual([old.status, old.body.state, old.body.fetchedAt], [200, "stale", fetchedAt]);
    assert.deepEqual([old.body.ageSeconds, ageOf(old)], [660, 660]);
    assert.match(statusOf(old), /^forecasts; hit; ttl=-\d+; detail=expired$/);
    await until("the new one is there", async () => (await forecastOf(newYork)).body.ageSeconds === 0);
    assert.equal(weather.simulator.counts.asked, asked + 1);
  });

  test("when the API is down the last forecast goes on being served for six hours; then it is a 503, and only there", async () => {
    await forecastOf(seattle);
    weather.simulator.disturb({ outage: true });
    clock.advance(5 * 60 * minuteMs);
    const old = await forecastOf(seattle);
    assert.deepEqual([old.status, old.body.state, old.body.ageSeconds, ageOf(old)], [200, "stale", 18_000, 18_000]);
    clock.advance(90 * minuteMs);
    const gone = await forecastOf(seattle);
    assert.equal(gone.status, 503);
    assert.equal(gone.body["code" as never], "FORECAST_UNAVAILABLE");
    assert.match(gone.headers.get("retry-after")!, /^[1-9]\d*$/);
    assert.equal(gone.headers.get("age"), null);
    assert.doesNotMatch(JSON.stringify(gone.body), /127\.0\.0\.1|v1\/forecast|UPSTREAM/);
    for (const path of [`/cities/${seattle}`, `/cities/${seattle}/reports`, "/readyz"])
      assert.equal((await weather.get(path)).status, 200, path);
    weather.simulator.disturb({});
    clock.advance(minuteMs);
    await until("it works again", async () => (await forecastOf(seattle)).status === 200);
  });

  test("a city that does not exist is a 404, and the API is not asked", async () => {
    const { asked } = weather.simulator.counts;
    const answer = await forecastOf(7);
    assert.deepEqual([answer.status, answer.body["code" as never]], [404, "CITY_NOT_FOUND"]);
    assert.equal(weather.simulator.counts.asked, asked);
  });

  test("where it is winter in the north it is summer in the south", async () => {
    const mean = async (cityId: number) => {
      const { hours } = (await forecastOf(cityId)).body;
      return hours.reduce((sum, { temperatureC }) => sum + temperatureC, 0) / hours.length;
    };
    const month = new Date().getUTCMonth();
    const difference = (await mean(capeTown)) - (await mean(newYork));
    if (month <= 1 || month >= 10) assert.ok(difference > 5, String(difference));
    if (month >= 5 && month <= 7) assert.ok(difference < -2, String(difference));
  });

  test("several cities come in the order in which they were asked for, with their latest reports, and what does not exist is said", async () => {
    const { token } = await weather.user();
    for (const text of ["Rain.", "More rain."]) await weather.send("POST", "/reports", { cityId: seattle, text }, token);
    const { status, body } = await weather.get<Overview>(`/forecasts?cities=${newYork},7,${seattle},${newYork}`);
    assert.equal(status, 200);
    assert.deepEqual(
      body.data.map(({ city, forecast, latestReport }) => [city.name, forecast?.hours.length, latestReport?.text]),
      [
        ["New York City", 72, undefined],
        ["Seattle", 72, "More rain."],
      ],
    );
    assert.deepEqual(body.missing, [{ cityId: 7, part: "city", reason: "not-found" }]);
  });

  test("a list of cities that is none, or too long, names the field", async () => {
    for (const cities of ["", "a", "1,", "0", "1;2", "99999999999", Array.from({ length: 21 }, (_, i) => i + 1).join(",")]) {
      const { status, body } = await weather.get<{ errors: { field: string }[] }>(`/forecasts?cities=${cities}`);
      assert.deepEqual([status, body.errors[0]!.field], [400, "cities"], cities);
    }
    const twenty = (await weather.get<{ data: { id: number }[] }>("/cities?limit=20")).body.data.map(({ id }) => id);
    assert.equal((await weather.get<Overview>(`/forecasts?cities=${twenty.join(",")}`)).body.data.length, 20);
  });

  test("what is late or fails is left out, with the reason; the rest is there in time", async () => {
    await forecastOf(seattle);
    weather.simulator.disturb({ latencyMs: 30_000 });
    const { left } = weather.simulator.counts;
    const startedMs = performance.now();
    const late = await weather.get<Overview>(`/forecasts?cities=${seattle},${newYork}`);
    assert.ok(performance.now() - startedMs < 10_000);
    assert.deepEqual(
      late.body.data.map(({ city, forecast }) => [city.id, forecast?.state]),
      [
        [seattle, "fresh"],
        [newYork, undefined],
      ],
    );
    assert.deepEqual(late.body.missing, [{ cityId: newYork, part: "forecast", reason: "late" }]);
    await until("the late call was given up", () => weather.simulator.counts.left > left);

    weather.simulator.disturb({ outage: true });
    const down = await weather.get<Overview>(`/forecasts?cities=${newYork},${seattle}`);
    assert.equal(down.status, 200);
    assert.deepEqual(down.body.missing, [{ cityId: newYork, part: "forecast", reason: "unavailable" }]);
    assert.ok(down.body.data[1]!.forecast);
  });

  test(
    "a client that leaves ends its calls of the API on the wire and its statement on the server",
    { timeout: 120_000 },
    async () => {
      await using other = await createDatabase({ url: weather.databaseUrl, applicationName: "locker", pool: { pipelined: 0 } });
      const running = sql<{ count: number }>`
      select count(*)::int as count from pg_stat_activity
      where datname = current_database() and application_name = 'weather' and state = 'active' and query ~ 'as latest'`;
      const count = async () => (await other.outsideTransaction(() => other.one(running))).count;
      await other.transaction(async (tx) => {
        // The statement that reads reports waits. Who looks at it does so elsewhere: a transaction sees what ran when it looked first.
        await tx.query(sql`lock table reports in access exclusive mode`);
        weather.simulator.disturb({ latencyMs: 60_000 });
        let status: number | undefined;
        // On a machine that is busy the two seconds of the overview may be over before we leave: then we come again.
        for (let visit = 0; visit < 5 && status !== 499; visit++) {
          status = undefined;
          const { asked, left } = weather.simulator.counts;
          const ended = requestChannel
            .next(({ route }) => route === "/forecasts", AbortSignal.timeout(60_000))
            .then((message) => (status = message.status));
          const client = await open(weather.url);
          client.write(`GET /forecasts?cities=${seattle},${newYork},${capeTown} HTTP/1.1\r\nhost: weather\r\n\r\n`);
          await until(
            "three calls and the statement are under way",
            async () => status !== undefined || (weather.simulator.counts.asked >= asked + 3 && (await count()) === 1),
          );
          client.destroy();
          await ended;
          await until(
            "the calls were given up",
            () => weather.simulator.counts.left - left === weather.simulator.counts.asked - asked,
          );
          await until("the statement was cancelled", async () => (await count()) === 0);
        }
        assert.equal(status, 499); // it was the leaving, and not the time
      });
      weather.simulator.disturb({});
      assert.equal((await weather.get<Overview>(`/forecasts?cities=${seattle}`)).body.data.length, 1);
    },
  );
});

test("an API that answers with something else is a failure with a reason, and nothing of it gets out", async () => {
  const bodies = ["{}", "<html>", '{"timezone":"x","utc_offset_seconds":0,"hourly":{"time":["now"]}}'];
  let asked = 0;
  const server = createServer((_request, response) => void response.end(bodies[asked++ % bodies.length])).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using database = await testDatabase();
  {
    await using weather = await serve(database.url, { upstream: { url: `http://127.0.0.1:${port}` } });
    await weather.database.query(sql`insert into cities values (1, 'A', 'a', 'AA', '', 'PPL', 1, 0, 0)`);
    for (const _ of bodies) {
      const answer = await weather.get("/cities/1/forecast");
      assert.deepEqual([answer.status, answer.body["code"]], [503, "FORECAST_UNAVAILABLE"]);
      assert.doesNotMatch(JSON.stringify(answer.body), /html|shape/);
    }
    const { body } = await weather.get<Overview>("/forecasts?cities=1");
    assert.deepEqual(body.missing, [{ cityId: 1, part: "forecast", reason: "invalid" }]);
  }
  server.closeAllConnections();
  server.close();
});
