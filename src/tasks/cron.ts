// Cron expressions in a time zone: five fields as in crontab(5), and the instants that they mean, also where a clock is put forward or
// back. No I/O, no timers. See docs/schedules.md.
//
// An expression speaks of local times. Where clocks change, a local time may not exist or exist twice:
//
// | hours field     | the local time does not exist          | it exists twice     |
// | --------------- | -------------------------------------- | ------------------- |
// | names hours     | the first instant behind the gap, once | the first time only |
// | `*`, every hour | left out                               | both times          |
//
// "At half past two" is wanted once a day whatever the clock does; "every ten minutes" is about time that passes. Vixie's cron makes the
// same distinction.

import { tasksErrors } from "./errors.ts";

/** The instants of one expression in one zone. All times are milliseconds since the epoch. */
export interface Cron {
  /** The first one after `afterMs`; undefined: none within the next 10 years. */
  next(afterMs: number): number | undefined;
  /** The last one that is at most `upToMs` and later than `afterMs`. */
  last(upToMs: number, afterMs: number): number | undefined;
}

const nicknames: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};

interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
}

const fields: readonly Field[] = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "day of the month", min: 1, max: 31 },
  {
    name: "month",
    min: 1,
    max: 12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  { name: "day of the week", min: 0, max: 7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const dayMs = 86_400_000;
const minuteMs = 60_000;

/** 29 February comes back after eight years at most; ten leave room. */
const horizonDays = 3_660;

/** The values of one field, as a set. @throws a sentence about what is wrong */
function readField(text: string, field: Field): ReadonlySet<number> {
  const wrong = (what: string): Error => new Error(`${what} in the ${field.name}, ${JSON.stringify(text)}`);
  const number = (word: string): number => {
    const named = field.names?.indexOf(word.toLowerCase()) ?? -1;
    if (named >= 0) return named + field.min;
    if (!/^\d{1,2}$/.test(word)) throw wrong(`${JSON.stringify(word)} is no value`);
    const value = Number(word);
    if (value < field.min || value > field.max) throw wrong(`${value} is not from ${field.min} to ${field.max}`);
    return value;
  };
  const values = new Set<number>();
  for (const part of text.split(",")) {
    const [range = "", step, ...rest] = part.split("/");
    if (rest.length > 0) throw wrong("there is more than one step");
    const [low = "", high, ...more] = range.split("-");
    if (more.length > 0) throw wrong("a range has two ends");
    const all = range === "*";
    const from = all ? field.min : number(low);
    const to = all ? field.max : high !== undefined ? number(high) : step === undefined ? from : field.max;
    if (from > to) throw wrong("a range runs backwards");
    if (step !== undefined && !/^[1-9]\d?$/.test(step)) throw wrong(`${JSON.stringify(step)} is no step`);
    for (let value = from; value <= to; value += Number(step ?? 1)) values.add(value);
  }
  return values;
}

/** What an expression says, apart from the zone. */
interface Pattern {
  readonly minutes: readonly number[];
  readonly hours: readonly number[];
  /** Whether it is about time that passes: see the table above. */
  readonly everyHour: boolean;
  /** `day` is a day's midnight in UTC, as a calendar without a zone. */
  matchesDay(day: number): boolean;
}

/** @throws a sentence about what is wrong */
function readPattern(expression: string): Pattern {
  const trimmed = expression.trim();
  const spelled = nicknames[trimmed.toLowerCase()] ?? trimmed;
  if (spelled.startsWith("@")) throw new Error(`there is no ${spelled}; there are ${Object.keys(nicknames).join(", ")}`);
  const texts = spelled.split(/\s+/);
  if (texts.length !== 5) throw new Error(`it has ${texts.length} fields, not five (minute, hour, day, month, day of the week)`);
  const [minutes, hours, days, months, weekdays] = texts.map((text, i) => readField(text, fields[i]!)) as [
    ReadonlySet<number>,
    ReadonlySet<number>,
    ReadonlySet<number>,
    ReadonlySet<number>,
    ReadonlySet<number>,
  ];
  // crontab(5): when both days are restricted, either is enough.
  const either = !texts[2]!.startsWith("*") && !texts[4]!.startsWith("*");
  const ascending = (values: ReadonlySet<number>): number[] => [...values].sort((a, b) => a - b);
  return {
    minutes: ascending(minutes),
    hours: ascending(hours),
    everyHour: texts[1] === "*",
    matchesDay(day) {
      const date = new Date(day);
      if (!months.has(date.getUTCMonth() + 1)) return false;
      const weekday = date.getUTCDay();
      const onDay = days.has(date.getUTCDate());
      const onWeekday = weekdays.has(weekday) || (weekday === 0 && weekdays.has(7));
      return either ? onDay || onWeekday : onDay && onWeekday;
    },
  };
}

/** By how much local time is ahead of UTC at an instant, in milliseconds. */
type OffsetAt = (instantMs: number) => number;

/** @throws RangeError when Node's ICU does not know the zone */
function offsetsOf(timeZone: string): OffsetAt {
  const format = new Intl.DateTimeFormat("en-US-u-ca-gregory-nu-latn", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  return (instantMs) => {
    const part: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(instantMs)) part[type] = Number(value);
    const local = Date.UTC(part["year"]!, part["month"]! - 1, part["day"], part["hour"], part["minute"], part["second"]);
    return local - Math.floor(instantMs / 1_000) * 1_000;
  };
}

/** The first instant of the minute-wise search between `from` and `to` at which the offset is that of `to`. */
function transition(offsetAt: OffsetAt, from: number, to: number): number {
  const after = offsetAt(to);
  let low = Math.floor(from / minuteMs);
  let high = Math.ceil(to / minuteMs);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(middle * minuteMs) === after) high = middle;
    else low = middle;
  }
  return high * minuteMs;
}

class ZonedCron implements Cron {
  readonly #pattern: Pattern;
  readonly #offsetAt: OffsetAt;

  constructor(pattern: Pattern, offsetAt: OffsetAt) {
    this.#pattern = pattern;
    this.#offsetAt = offsetAt;
  }

  next(afterMs: number): number | undefined {
    const today = this.#dayOf(afterMs);
    // From the day before: where a clock is put back over midnight, its last minutes come again after those of today.
    for (let day = today - dayMs; day <= today + horizonDays * dayMs; day += dayMs) {
      if (!this.#pattern.matchesDay(day)) continue;
      const found = this.#instants(day).find((instant) => instant > afterMs);
      if (found === undefined) continue;
      const rival = this.#pattern.everyHour ? this.#instantsIfAny(day + dayMs).find((instant) => instant > afterMs) : undefined;
      return rival === undefined ? found : Math.min(found, rival);
    }
    return undefined;
  }

  last(upToMs: number, afterMs: number): number | undefined {
    const today = this.#dayOf(upToMs);
    const firstDay = Math.max(this.#dayOf(afterMs) - dayMs, today - horizonDays * dayMs);
    for (let day = today + dayMs; day >= firstDay; day -= dayMs) {
      const found = this.#instantsIfAny(day).findLast((instant) => instant <= upToMs);
      if (found === undefined) continue;
      const rival = this.#pattern.everyHour ? this.#instantsIfAny(day - dayMs).findLast((instant) => instant <= upToMs) : undefined;
      const last = rival === undefined ? found : Math.max(found, rival);
      return last > afterMs ? last : undefined;
    }
    return undefined;
  }

  /** Midnight of the local day, as a calendar without a zone. */
  #dayOf(instantMs: number): number {
    return Math.floor((instantMs + this.#offsetAt(instantMs)) / dayMs) * dayMs;
  }

  #instantsIfAny(day: number): readonly number[] {
    return this.#pattern.matchesDay(day) ? this.#instants(day) : [];
  }

  /** The instants of a local day that matches, ascending. */
  #instants(day: number): readonly number[] {
    const { minutes, hours, everyHour } = this.#pattern;
    // No zone is more than 15 hours from UTC, and none changes its clock twice within three days.
    const before = this.#offsetAt(day - dayMs);
    const after = this.#offsetAt(day + 2 * dayMs);
    const instants = new Set<number>();
    for (const hour of hours) {
      for (const minute of minutes) {
        const local = day + (hour * 60 + minute) * minuteMs;
        if (before === after) {
          instants.add(local - before);
          continue;
        }
        const valid = [local - before, local - after].filter((instant) => instant + this.#offsetAt(instant) === local);
        const [first, second] = valid.sort((a, b) => a - b);
        if (first === undefined) {
          if (!everyHour) instants.add(transition(this.#offsetAt, day - dayMs, day + 2 * dayMs));
          continue;
        }
        instants.add(first);
        if (everyHour && second !== undefined) instants.add(second);
      }
    }
    return [...instants].sort((a, b) => a - b);
  }
}

/**
 * Reads an expression. `subject` is the task whose schedule it is, for messages.
 * @throws MILLRACE_TASKS_DEFINITION_INVALID when it, or the zone, cannot be, or when it never comes
 */
export function parseCron(subject: string, expression: string, timeZone: string): Cron {
  const refuse = (reason: string, cause?: unknown) =>
    tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", { task: subject, reason }, cause);
  let pattern: Pattern;
  try {
    pattern = readPattern(expression);
  } catch (error) {
    throw refuse(`the cron expression ${JSON.stringify(expression)} cannot be read: ${(error as Error).message}.`, error);
  }
  let offsetAt: OffsetAt;
  try {
    offsetAt = offsetsOf(timeZone);
  } catch (error) {
    throw refuse(`there is no time zone ${JSON.stringify(timeZone)}; it is a name such as "Europe/Zurich".`, error);
  }
  const cron = new ZonedCron(pattern, offsetAt);
  if (cron.next(0) === undefined) throw refuse(`the cron expression ${JSON.stringify(expression)} never comes.`);
  return cron;
}
