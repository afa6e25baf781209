// The stand-in for the Open-Meteo API: it answers as the real one does, and has the troubles that it is told to have.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, suite, test } from "node:test";
import { type Simulator, startSimulator } from "../../examples/weather/src/simulator/simulator.ts";
import type { Json } from "./harness.ts";

const noon = Date.UTC(2026, 10, 25, 12);

suite("the simulator", () => {
  let simulator: Simulator;
  before(async () => void (simulator = await startSimulator(() => noon)));
  after(() => simulator.close());

  const ask = (query: string) => fetch(`${simulator.url}/v1/forecast?${query}`);
  const disturb = (body: unknown) =>
    fetch(`${simulator.url}/admin/weather`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  test("answers in the shape and the units of the real API", async () => {
    const answer = (await (await ask("latitude=52.52&longitude=13.41&hourly=temperature_2m,wind_speed_10m")).json()) as Record<
      string,
      Json
    >;
    assert.deepEqual(Object.keys(answer), [
      "latitude",
      "longitude",
      "generationtime_ms",
      "utc_offset_seconds",
      "timezone",
      "timezone_abbreviation",
      "elevation",
      "hourly_units",
      "hourly",
    ]);
    assert.deepEqual([answer["utc_offset_seconds"], answer["timezone"]], [0, "GMT"]);
    assert.deepEqual(answer["hourly_units"], { time: "iso8601", temperature_2m: "°C", wind_speed_10m: "km/h" });
    const hourly = answer["hourly"] as { time: string[]; temperature_2m: number[] };
    assert.deepEqual([hourly.time.length, hourly.temperature_2m.length], [168, 168]);
    assert.deepEqual([hourly.time[0], hourly.time[167]], ["2026-11-25T00:00", "2026-12-01T23:00"]);
  });

  test("begins at the place's own midnight, counts in seconds and in metres when it is asked to", async () => {
    const query = "hourly=wind_speed_10m&timezone=auto&timeformat=unixtime&forecast_days=1";
    const of = async (longitude: number, unit: string) =>
      (await (await ask(`latitude=10&longitude=${longitude}&${query}&wind_speed_unit=${unit}`)).json()) as {
        utc_offset_seconds: number;
        hourly: { time: number[]; wind_speed_10m: number[] };
      };
    const [east, west] = [await of(178, "ms"), await of(-122, "ms")];
    assert.deepEqual([east.utc_offset_seconds, west.utc_offset_seconds], [12 * 3_600, -8 * 3_600]);
    // At noon of the 25th in Greenwich it is midnight, so already the 26th, where the clocks are twelve hours ahead.
    assert.equal(east.hourly.time[0], Date.UTC(2026, 10, 25, 12) / 1_000);
    assert.equal(west.hourly.time[0], Date.UTC(2026, 10, 25, 8) / 1_000);
    const inKmh = await of(178, "kmh");
    for (const [i, wind] of east.hourly.wind_speed_10m.entries())
      assert.ok(Math.abs(inKmh.hourly.wind_speed_10m[i]! - wind * 3.6) < 0.1);
  });

  test("refuses what the real one would refuse, and what it does not have", async () => {
    for (const query of [
      "longitude=1",
      "latitude=91&longitude=1",
      "latitude=1&longitude=1&hourly=cape",
      "latitude=1&longitude=1&x=1",
    ])
      assert.equal((await ask(query)).status, 400, query);
  });

  test("fails as often as it is told to, is slow, and dead; an empty trouble ends them all", async () => {
    const query = "latitude=1&longitude=1";
    assert.deepEqual(await (await disturb({ errorRatio: 0.25 })).json(), { latencyMs: 0, errorRatio: 0.25, outage: false });
    const statuses = [];
    for (let i = 0; i < 20; i++) statuses.push((await ask(query)).status);
    assert.equal(statuses.filter((status) => status === 503).length, 5);

    await disturb({ latencyMs: 60_000 });
    const { left } = simulator.counts;
    await assert.rejects(fetch(`${simulator.url}/v1/forecast?${query}`, { signal: AbortSignal.timeout(100) }), {
      name: "TimeoutError",
    });
    while (simulator.counts.left === left) await new Promise((resolve) => setTimeout(resolve, 5));

    await disturb({ outage: true });
    await assert.rejects(ask(query), TypeError);
    assert.equal((await fetch(`${simulator.url}/admin/weather`)).status, 200);

    await disturb({});
    assert.equal((await ask(query)).status, 200);
  });

  test("refuses troubles that make no sense, and requests that came here under another name", async () => {
    for (const body of [{ latencyMs: -1 }, { errorRatio: 2 }, { outage: "yes" }, { outrage: true }])
      assert.equal((await disturb(body)).status, 400, JSON.stringify(body));
    const { port } = new URL(simulator.url);
    const status = await new Promise((resolve, reject) => {
      const headers = { host: `weather.example.org:${port}` };
      request({ host: "127.0.0.1", port, path: "/admin/weather", headers }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .on("error", reject)
        .end();
    });
    assert.equal(status, 400);
    assert.deepEqual(await (await fetch(`${simulator.url}/admin/weather`)).json(), { latencyMs: 0, errorRatio: 0, outage: false });
  });
});
