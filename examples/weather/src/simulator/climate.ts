// What the weather is at a place and an hour, made of what an average year in Seattle looked like: warmer or colder and with more or less of a
// winter by latitude, half a year later on the southern half. Deterministic: a place and an hour always have the same weather.

import { readCsv } from "../seed/csv.ts";

export interface Weather {
  readonly temperatureC: number;
  readonly pressureHpa: number;
  readonly windMps: number;
}

export interface Climate {
  /** At `localMs`, the place's local time written as if it were UTC, in milliseconds since 1970. */
  weather(latitude: number, longitude: number, localMs: number): Weather;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const hoursOfYear = 365 * 24;

/** Where the normals were measured. */
const seattleLatitude = 47.61;

/** At sea level on the equator, averaged over the year. */
const equatorC = 27;

/** Whole days, so that noon stays noon. */
const halfYearHours = 182 * 24;

/** How far a day may be from the average, in degrees. */
const mostDeviationC = 4;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Each hour's mean of the day around it; the year is a circle. */
function daily(values: readonly number[]): number[] {
  let sum = mean(values.slice(0, 24)) * 24;
  const means: number[] = [];
  for (let i = 0; i < values.length; i++) {
    means[(i + 12) % values.length] = sum / 24;
    sum += values[(i + 24) % values.length]! - values[i]!;
  }
  return means;
}

/** A number from -1 to 1 that looks like chance and depends on nothing but the three. */
function noise(a: number, b: number, c: number): number {
  let bits = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35);
  bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d);
  bits = Math.imul(bits ^ (bits >>> 12), 0x297a2d39);
  return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 31 - 1;
}

/** The same through the hours: it glides from day to day. */
function glide(latitude: number, longitude: number, days: number, what: number): number {
  const cell = Math.round(latitude) * 1_000 + Math.round(longitude);
  const day = Math.floor(days);
  const part = days - day;
  const from = noise(cell, day, what);
  return from + (noise(cell, day + 1, what) - from) * part * part * (3 - 2 * part);
}

function hourOfYear(localMs: number): number {
  const date = new Date(localMs);
  const [month, day] = [date.getUTCMonth(), date.getUTCDate()];
  // 2010 has no 29th of February; its weather is that of the 28th.
  const inPlainYear = Date.UTC(2010, month, month === 1 ? Math.min(day, 28) : day, date.getUTCHours());
  return (inPlainYear - Date.UTC(2010, 0, 1)) / hourMs;
}

const rounded = (value: number): number => Math.round(value * 10) / 10;

/** Reads the normals. Takes some milliseconds. */
export async function loadClimate(): Promise<Climate> {
  const lines = await readCsv("seattle-weather-hourly-normals.csv");
  // The file begins at one in the morning: the first hour is as the second.
  const year = (index: number): number[] => [lines[0]!, ...lines].map((line) => Number(line[index]));
  const [pressure, temperature, wind] = [year(1), year(2), year(3)] as const;
  if (temperature.length !== hoursOfYear) throw new Error(`The normals have ${temperature.length} hours, expected ${hoursOfYear}.`);
  const dayMeans = daily(temperature);
  const yearMean = mean(temperature);
  // What a day does to the temperature, on average over the year: near the equator all days are alike.
  const meanDay = Array.from({ length: 24 }, (_, hour) =>
    mean(temperature.flatMap((value, i) => (i % 24 === hour ? [value - dayMeans[i]!] : []))),
  );
  const coldPerSquare = (equatorC - yearMean) / seattleLatitude ** 2;
  const radians = Math.PI / 180;
  return {
    weather(latitude, longitude, localMs) {
      const hour = (hourOfYear(localMs) + (latitude < 0 ? halfYearHours : 0)) % hoursOfYear;
      const days = localMs / dayMs;
      const here = equatorC - coldPerSquare * latitude ** 2;
      const fromEquator = Math.abs(latitude) / seattleLatitude;
      const season = (dayMeans[hour]! - yearMean) * fromEquator;
      const likeSeattle = Math.min(1, fromEquator);
      const day = likeSeattle * (temperature[hour]! - dayMeans[hour]!) + (1 - likeSeattle) * meanDay[hour % 24]!;
      const sun = Math.cos(latitude * radians) / Math.cos(seattleLatitude * radians);
      const front = glide(latitude, longitude, days, 1);
      return {
        temperatureC: rounded(here + season + day * sun + mostDeviationC * front),
        pressureHpa: rounded(pressure[hour]! + 8 * glide(latitude, longitude, days, 2) - 4 * front),
        windMps: rounded(wind[hour]! * (1 + 0.6 * glide(latitude, longitude, days, 3))),
      };
    },
  };
}
