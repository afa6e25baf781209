// Days and microseconds as text. The engine's own text would have to be fetched value by value at a microsecond each; a number costs
// nothing, and days repeat.

const usPerDay = 86_400_000_000n;
const days = new Map<number, string>();

/** "2001-02-03", from days since 1970. */
export function dayText(day: number): string {
  let text = days.get(day);
  if (text === undefined) {
    if (days.size >= 10_000) days.clear(); // 27 years
    const iso = new Date(day * 86_400_000).toISOString();
    text = iso.slice(0, iso.indexOf("T"));
    days.set(day, text);
  }
  return text;
}

const two = (value: number): string => (value < 10 ? `0${value}` : String(value));

/** "2001-02-03 04:05:06" with a fraction where there is one, from microseconds since 1970. */
export function timestampText(us: bigint): string {
  let day = us / usPerDay;
  let rest = Number(us % usPerDay);
  if (rest < 0) {
    rest += Number(usPerDay);
    day--;
  }
  const seconds = Math.floor(rest / 1_000_000);
  const fraction = rest % 1_000_000;
  const time = `${two(Math.floor(seconds / 3_600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const shown = fraction === 0 ? "" : `.${String(fraction).padStart(6, "0").replace(/0+$/, "")}`;
  return `${dayText(Number(day))} ${time}${shown}`;
}
