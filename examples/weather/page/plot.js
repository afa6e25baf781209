// A curve over hours: axes with units, the present moment, and a cursor for pointer and keyboard.

import { svg } from "./dom.js";

const margin = { top: 22, right: 14, bottom: 42, left: 46 };
const hourMs = 3_600_000;

/** A step of 1, 2 or 5 times a power of ten that gives at most `most` steps. */
function niceStep(span, most) {
  const raw = span / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
}

/** The city's wall clock as a Date that is read as if it were UTC. */
export const localTime = (time, utcOffsetSeconds) => new Date(Date.parse(time) + utcOffsetSeconds * 1000);

const format = (options) => {
  const formatter = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" });
  return (date) => formatter.format(date);
};
const dayName = format({ weekday: "short", day: "numeric", month: "short" });
const clock = format({ hour: "2-digit", minute: "2-digit" });

export const dayAndHour = (date) => `${dayName(date)}, ${clock(date)}`;

/**
 * Draws `hours` into `place`: `measure` is the name of the value, `unit` its unit, `nowMs` the present. Returns `moveTo(index, chosen)`, which puts the
 * cursor at an hour, and `indexAt(clientX)`.
 */
export function draw(place, { hours, utcOffsetSeconds, measure, unit, nowMs }) {
  const width = Math.max(280, place.clientWidth);
  const height = Math.max(180, place.clientHeight);
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const firstMs = Date.parse(hours[0].time);
  const spanMs = Math.max(hourMs, Date.parse(hours.at(-1).time) - firstMs);
  const x = (ms) => margin.left + ((ms - firstMs) / spanMs) * (right - margin.left);

  const values = hours.map((hour) => hour[measure]);
  const known = values.filter((value) => value !== null);
  const [low, high] = known.length > 0 ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const step = niceStep(Math.max(high - low, 2), 5);
  const from = measure === "windMps" ? 0 : Math.floor(low / step) * step;
  const to = Math.max(from + step, Math.ceil((high + step * 0.1) / step) * step);
  const y = (value) => bottom - ((value - from) / (to - from)) * (bottom - margin.top);

  const parts = [];
  const nowX = x(Math.min(Math.max(nowMs, firstMs), firstMs + spanMs));
  if (nowMs > firstMs) {
    parts.push(
      svg("rect", { class: "past", x: margin.left, y: margin.top, width: nowX - margin.left, height: bottom - margin.top }),
    );
  }
  for (let value = from; value <= to + step / 2; value += step) {
    parts.push(
      svg("line", { class: "grid", x1: margin.left, x2: right, y1: y(value), y2: y(value) }),
      svg(
        "text",
        { x: margin.left - 8, y: y(value) + 4, "text-anchor": "end" },
        String(Math.round(value * 10) / 10).replace("-", "−"),
      ),
    );
  }
  parts.push(svg("text", { x: margin.left - 8, y: 12, "text-anchor": "end" }, unit));

  const everyHours = width < 480 ? 12 : 6;
  for (const { time } of hours) {
    const date = localTime(time, utcOffsetSeconds);
    const at = x(Date.parse(time));
    const hour = date.getUTCHours();
    if (date.getUTCMinutes() !== 0 || hour % everyHours !== 0) continue;
    const midnight = hour === 0;
    parts.push(
      svg("line", { class: midnight ? "midnight" : "grid", x1: at, x2: at, y1: margin.top, y2: bottom + (midnight ? 6 : 3) }),
    );
    if (at > margin.left - 1 && at < right - 8) {
      parts.push(svg("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, String(hour).padStart(2, "0")));
    }
    if (midnight && at < right - 60) parts.push(svg("text", { class: "day", x: at + 2, y: bottom + 35 }, dayName(date)));
  }

  // A value that is missing breaks the curve.
  const runs = [];
  let run;
  for (const [i, value] of values.entries()) {
    if (value === null) run = undefined;
    else {
      if (!run) runs.push((run = []));
      run.push([x(Date.parse(hours[i].time)), y(value)]);
    }
  }
  for (const points of runs) {
    const path = points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    const [start, end] = [points[0][0].toFixed(1), points.at(-1)[0].toFixed(1)];
    parts.push(
      svg("path", { class: "area", d: `${path}L${end} ${bottom}L${start} ${bottom}Z` }),
      svg("path", { class: "curve", d: path }),
    );
  }
  if (nowMs >= firstMs && nowMs <= firstMs + spanMs) {
    parts.push(
      svg("line", { class: "moment", x1: nowX, x2: nowX, y1: margin.top - 4, y2: bottom }),
      svg("text", { class: "moment-label", x: nowX, y: 12, "text-anchor": nowX > right - 30 ? "end" : "middle" }, "now"),
    );
  }
  const cursor = svg("line", { class: "cursor", y1: margin.top, y2: bottom });
  const dot = svg("circle", { class: "dot", r: 5 });
  const image = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...parts, cursor, dot);
  place.replaceChildren(image);

  return {
    /** `chosen`: somebody has put the cursor there. */
    moveTo(index, chosen) {
      const at = x(Date.parse(hours[index].time));
      const value = values[index];
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.setAttribute("visibility", chosen ? "visible" : "hidden");
      dot.setAttribute("cx", at);
      if (value === null) dot.setAttribute("visibility", "hidden");
      else {
        dot.setAttribute("visibility", "visible");
        dot.setAttribute("cy", y(value));
      }
    },
    indexAt(clientX) {
      const ms = firstMs + ((clientX - image.getBoundingClientRect().left - margin.left) / (right - margin.left)) * spanMs;
      return Math.min(hours.length - 1, Math.max(0, Math.round((ms - firstMs) / hourMs)));
    },
  };
}
