// Dates in HTTP (RFC 9110 § 5.6.7): the one format that is sent and the two that older software sends. Read as RFC 9111 § 4.2 asks
// of caches: letters of either case, and no zone but GMT.

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const day = "(?:mon|tue|wed|thu|fri|sat|sun)";
const longDay = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)";
const month = `(${months.join("|")})`;
const time = "(\\d{2}):(\\d{2}):(\\d{2})";

const imfFixdate = new RegExp(`^${day}, (\\d{2}) ${month} (\\d{4}) ${time} gmt$`);
const rfc850 = new RegExp(`^${longDay}, (\\d{2})-${month}-(\\d{2}) ${time} gmt$`);
const asctime = new RegExp(`^${day} ${month} ([ \\d]\\d) ${time} (\\d{4})$`);

/** A year of two digits that seems to lie more than fifty years ahead means the past. */
function fullYear(twoDigits: number, nowMs: number): number {
  const thisYear = new Date(nowMs).getUTCFullYear();
  const year = Math.floor(thisYear / 100) * 100 + twoDigits;
  return year > thisYear + 50 ? year - 100 : year;
}

function instant(year: number, monthName: string, date: number, hours: number, minutes: number, seconds: number) {
  const monthIndex = months.indexOf(monthName);
  // 60: a leap second.
  if (date < 1 || hours > 23 || minutes > 59 || seconds > 60) return undefined;
  const ms = Date.UTC(year, monthIndex, date, hours, minutes, seconds);
  // 31 Feb would become 3 Mar.
  return new Date(Date.UTC(year, monthIndex, date)).getUTCDate() === date ? ms : undefined;
}

/** Milliseconds since the epoch, or undefined: it is no date. `nowMs` decides the century of a year of two digits. */
export function parseHttpDate(text: string, nowMs: number): number | undefined {
  const lower = text.trim().toLowerCase();
  let match = imfFixdate.exec(lower);
  if (match) return instant(+match[3]!, match[2]!, +match[1]!, +match[4]!, +match[5]!, +match[6]!);
  match = rfc850.exec(lower);
  if (match) return instant(fullYear(+match[3]!, nowMs), match[2]!, +match[1]!, +match[4]!, +match[5]!, +match[6]!);
  match = asctime.exec(lower);
  return match ? instant(+match[6]!, match[1]!, +match[2]!, +match[3]!, +match[4]!, +match[5]!) : undefined;
}

/** The date as it is sent, to the second. */
export const formatHttpDate = (ms: number): string => new Date(ms).toUTCString();
