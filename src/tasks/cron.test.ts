import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../core/index.ts";
import { type Cron, parseCron } from "./cron.ts";

const at = (iso: string): number => Date.parse(iso);
const iso = (ms: number): string => new Date(ms).toISOString().replace(":00.000Z", "Z");

/** The next `count` instants. */
function upcoming(cron: Cron, from: string, count: number): string[] {
  const found: string[] = [];
  for (let ms = at(from); found.length < count;) {
    ms = cron.next(ms)!;
    found.push(iso(ms));
  }
  return found;
}

const of = (expression: string, timeZone = "UTC") => parseCron("tick", expression, timeZone);

const refusal = (expression: string, timeZone = "UTC"): string => {
  try {
    of(expression, timeZone);
  } catch (error) {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, "MILLRACE_TASKS_DEFINITION_INVALID");
    return error.message;
  }
  return assert.fail(`${expression} was accepted.`);
};

suite("a cron expression", () => {
  test("says when, in its zone", () => {
    assert.deepEqual(upcoming(of("30 4 * * mon-fri"), "2026-01-02T04:30:00Z", 2), ["2026-01-05T04:30Z", "2026-01-06T04:30Z"]);
    assert.deepEqual(upcoming(of("0 9 1 1,7 *", "Asia/Kolkata"), "2026-01-02T00:00:00Z", 2), [
      "2026-07-01T03:30Z",
      "2027-01-01T03:30Z",
    ]);
    assert.deepEqual(upcoming(of("5-20/7,58 */12 * * *"), "2026-01-01T00:00:00Z", 5), [
      "2026-01-01T00:05Z",
      "2026-01-01T00:12Z",
      "2026-01-01T00:19Z",
      "2026-01-01T00:58Z",
      "2026-01-01T12:05Z",
    ]);
    assert.deepEqual(upcoming(of("0 0 29 2 *"), "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00Z"]);
    assert.deepEqual(upcoming(of("@weekly"), "2026-01-01T00:00:00Z", 1), ["2026-01-04T00:00Z"]);
    assert.deepEqual(upcoming(of("0 0 * * 7"), "2026-01-01T00:00:00Z", 1), ["2026-01-04T00:00Z"]);
  });

  test("with both kinds of days is met by either, as in crontab(5)", () => {
    assert.deepEqual(upcoming(of("0 0 13 * fri"), "2026-02-06T00:00:00Z", 3), [
      "2026-02-13T00:00Z",
      "2026-02-20T00:00Z",
      "2026-02-27T00:00Z",
    ]);
    assert.deepEqual(upcoming(of("0 0 13 * fri"), "2026-03-07T00:00:00Z", 2), ["2026-03-13T00:00Z", "2026-03-20T00:00Z"]);
    assert.deepEqual(upcoming(of("0 0 10 * fri"), "2026-03-07T00:00:00Z", 2), ["2026-03-10T00:00Z", "2026-03-13T00:00Z"]);
  });

  test("is refused with the field that is wrong", () => {
    assert.match(refusal("60 * * * *"), /60 is not from 0 to 59 in the minute/);
    assert.match(refusal("* * * *"), /it has 4 fields, not five/);
    assert.match(refusal("* * * * * *"), /it has 6 fields/);
    assert.match(refusal("* 5-1 * * *"), /a range runs backwards in the hour/);
    assert.match(refusal("*/0 * * * *"), /"0" is no step/);
    assert.match(refusal("* * 1-2-3 * *"), /a range has two ends in the day of the month/);
    assert.match(refusal("* * * 1/2/3 *"), /more than one step in the month/);
    assert.match(refusal("* * * * fry"), /"fry" is no value in the day of the week/);
    assert.match(refusal("@often"), /there is no @often; there are @hourly, @daily/);
    assert.match(refusal("0 0 31 2 *"), /never comes/);
    assert.match(refusal("* * * * *", "Europe/Atlantis"), /there is no time zone "Europe\/Atlantis"/);
  });
});

suite("where a clock is put forward", () => {
  test("a time that does not exist comes at the first instant behind the gap", () => {
    // Zurich, 29 March 2026: 02:00 CET becomes 03:00 CEST at 01:00 UTC.
    assert.deepEqual(upcoming(of("30 2 * * *", "Europe/Zurich"), "2026-03-28T12:00:00Z", 2), [
      "2026-03-29T01:00Z",
      "2026-03-30T00:30Z",
    ]);
    assert.deepEqual(upcoming(of("15,45 2 * * *", "America/New_York"), "2026-03-07T12:00:00Z", 2), [
      "2026-03-08T07:00Z",
      "2026-03-09T06:15Z",
    ]);
    // Lord Howe Island changes by half an hour: 02:15 does not exist on 4 October, 02:30 does.
    assert.deepEqual(upcoming(of("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T12:00:00Z", 1), ["2026-10-03T15:30Z"]);
    // Samoa left out 30 December 2011.
    assert.deepEqual(upcoming(of("0 12 30 12 *", "Pacific/Apia"), "2011-12-01T00:00:00Z", 1), ["2011-12-30T10:00Z"]);
  });

  test("what comes every hour goes on in elapsed time", () => {
    assert.deepEqual(upcoming(of("30 * * * *", "Europe/Zurich"), "2026-03-29T00:00:00Z", 3), [
      "2026-03-29T00:30Z",
      "2026-03-29T01:30Z",
      "2026-03-29T02:30Z",
    ]);
  });
});

suite("where a clock is put back", () => {
  test("a time that exists twice comes once, the first time", () => {
    // Zurich, 25 October 2026: 03:00 CEST becomes 02:00 CET at 01:00 UTC.
    assert.deepEqual(upcoming(of("30 2 * * *", "Europe/Zurich"), "2026-10-24T12:00:00Z", 2), [
      "2026-10-25T00:30Z",
      "2026-10-26T01:30Z",
    ]);
    assert.deepEqual(upcoming(of("30 1 * * *", "America/New_York"), "2026-11-01T00:00:00Z", 2), [
      "2026-11-01T05:30Z",
      "2026-11-02T06:30Z",
    ]);
  });

  test("what comes every hour comes in both hours", () => {
    assert.deepEqual(upcoming(of("30 * * * *", "Europe/Zurich"), "2026-10-25T00:00:00Z", 3), [
      "2026-10-25T00:30Z",
      "2026-10-25T01:30Z",
      "2026-10-25T02:30Z",
    ]);
  });
});

suite("last()", () => {
  test("is the latest that has come since", () => {
    const daily = of("30 2 * * *", "Europe/Zurich");
    assert.equal(iso(daily.last(at("2026-10-25T23:00:00Z"), 0)!), "2026-10-25T00:30Z");
    assert.equal(iso(daily.last(at("2026-10-25T00:30:00Z"), 0)!), "2026-10-25T00:30Z");
    assert.equal(iso(daily.last(at("2026-10-25T00:29:59Z"), 0)!), "2026-10-24T00:30Z");
    assert.equal(daily.last(at("2026-10-25T23:00:00Z"), at("2026-10-25T00:30:00Z")), undefined);
  });

  test("of years ago is found without walking through all that came", () => {
    assert.equal(iso(of("* * * * *").last(at("2026-01-01T00:00:30Z"), 0)!), "2026-01-01T00:00Z");
    assert.equal(iso(of("0 0 29 2 *").last(at("2026-01-01T00:00:00Z"), 0)!), "2024-02-29T00:00Z");
  });
});

/** An oracle that only asks the calendar: every minute of a span, by its local time. */
function walk(timeZone: string, fromMs: number, toMs: number, hours: number[] | undefined, minutes: number[]): number[] {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "short" });
  const instants: number[] = [];
  const wanted = (local: number) => (!hours || hours.includes(Math.floor(local / 60))) && minutes.includes(local % 60);
  const seen = new Set<string>();
  let before: number | undefined;
  for (let ms = fromMs; ms < toMs; ms += 60_000) {
    const text = format.format(ms);
    const [, hour, minute] = /(\d\d):(\d\d)$/.exec(text)!;
    const local = Number(hour) * 60 + Number(minute);
    // A gap: minutes of the same day that were jumped over.
    let skipped = false;
    if (hours && before !== undefined) for (let m = before + 1; m < local; m++) skipped ||= wanted(m);
    if (skipped || (wanted(local) && (!hours || !seen.has(text)))) instants.push(ms);
    seen.add(text);
    before = local;
  }
  return instants;
}

test("agrees with a walk through every minute around a change of the clock, in both directions", () => {
  const changes: readonly (readonly [string, string])[] = [
    ["Europe/Zurich", "2026-03-29T01:00:00Z"],
    ["Europe/Zurich", "2026-10-25T01:00:00Z"],
    ["America/New_York", "2026-03-08T07:00:00Z"],
    ["America/New_York", "2026-11-01T06:00:00Z"],
    ["Australia/Lord_Howe", "2026-10-03T15:30:00Z"],
    ["Australia/Lord_Howe", "2026-04-04T15:00:00Z"],
    ["America/Santiago", "2026-04-05T03:00:00Z"], // back over midnight
    ["Asia/Kathmandu", "2026-06-01T00:00:00Z"], // no change, a quarter of an hour
  ];
  const subset = (max: number) => fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(
      fc.constantFrom(...changes),
      fc.option(subset(23), { nil: undefined }),
      subset(59),
      ([zone, change], hours, minutes) => {
        const from = at(change) - 36 * 3_600_000;
        const to = at(change) + 36 * 3_600_000;
        const cron = of(`${minutes.join(",")} ${hours?.join(",") ?? "*"} * * *`, zone);
        // The walk does not know what came before its beginning.
        const expected = walk(zone, from, to, hours, minutes);
        const forward: number[] = [];
        for (let ms = cron.next(from - 1)!; ms < to; ms = cron.next(ms)!) forward.push(ms);
        assert.deepEqual(forward.map(iso), expected.map(iso));
        const backward: number[] = [];
        for (let ms = cron.last(to - 1, from - 1); ms !== undefined; ms = cron.last(ms - 1, from - 1)) backward.push(ms);
        assert.deepEqual(backward.reverse().map(iso), expected.map(iso));
      },
    ),
    { numRuns: 15 },
  );
});
