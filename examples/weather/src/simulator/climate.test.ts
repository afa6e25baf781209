import assert from "node:assert/strict";
import { before, suite, test } from "node:test";
import { readCsv } from "../seed/csv.ts";
import { type Climate, loadClimate } from "./climate.ts";

const hourMs = 3_600_000;

suite("the simulated climate", () => {
  let climate: Climate;
  before(async () => void (climate = await loadClimate()));

  const temperatures = (latitude: number, month: number, hour: number, longitude = 0): number[] =>
    Array.from({ length: 30 * 28 }, (_, i) => {
      const localMs = Date.UTC(2000 + Math.floor(i / 28), month - 1, 1 + (i % 28), hour);
      return climate.weather(latitude, longitude, localMs).temperatureC;
    });
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

  test("is Seattle's own in Seattle: over thirty years each hour averages to its normal", async () => {
    const lines = await readCsv("seattle-weather-hourly-normals.csv");
    for (const at of ["2010-01-15T06:00:00", "2010-04-02T15:00:00", "2010-07-20T14:00:00", "2010-12-31T23:00:00"]) {
      const line = lines.find(([date]) => date === at)!;
      const years = Array.from({ length: 30 }, (_, i) =>
        climate.weather(47.61, -122.33, Date.parse(`${at.replace("2010", String(1990 + i))}Z`)),
      );
      assert.ok(Math.abs(mean(years.map(({ temperatureC }) => temperatureC)) - Number(line[2])) < 1.5, at);
      assert.ok(Math.abs(mean(years.map(({ pressureHpa }) => pressureHpa)) - Number(line[1])) < 4, at);
      assert.ok(Math.abs(mean(years.map(({ windMps }) => windMps)) - Number(line[3])) < 1, at);
    }
  });

  test("is warm at the equator all the year, cold in the north in January and in the south in July", () => {
    const [january, july] = [1, 7].map((month) => (latitude: number) => mean(temperatures(latitude, month, 12))) as [
      (latitude: number) => number,
      (latitude: number) => number,
    ];
    assert.ok(Math.abs(january(0) - july(0)) < 2);
    assert.ok(january(0) > 24);
    assert.ok(july(60) - january(60) > 15);
    assert.ok(january(-34) - july(-34) > 8);
    assert.ok(january(70) < january(50) && january(50) < january(20));
  });

  test("is warmer at noon than at night, on both halves", () => {
    for (const latitude of [47, -34, 5])
      assert.ok(mean(temperatures(latitude, 3, 14)) - mean(temperatures(latitude, 3, 4)) > 3, String(latitude));
  });

  test("is the same for the same place and hour, another for other places and days, and glides from hour to hour", () => {
    const at = (longitude: number, localMs: number) => climate.weather(50, longitude, localMs);
    const dayMs = Date.UTC(2026, 10, 25, 12);
    assert.deepEqual(at(8, dayMs), at(8, dayMs));
    assert.notDeepEqual(at(8, dayMs), at(13, dayMs));
    assert.notDeepEqual(at(8, dayMs), at(8, dayMs + 3 * 24 * hourMs));
    for (let hour = 0; hour < 24 * 366; hour++) {
      const [now, next] = [at(8, dayMs + hour * hourMs), at(8, dayMs + (hour + 1) * hourMs)];
      assert.ok(Math.abs(now.temperatureC - next.temperatureC) < 4, `${hour}`);
      for (const value of Object.values(now)) assert.ok(Number.isFinite(value));
      assert.ok(now.windMps > 0);
    }
  });
});
