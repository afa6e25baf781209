// The forecast of the city that is shown: the weather now, the plot, the table.

import { byId, h } from "./dom.js";
import { dayAndHour, draw, localTime } from "./plot.js";
import { showFreshness } from "./freshness.js";

const units = { temperatureC: "°C", windMps: "m/s", pressureHpa: "hPa" };
const names = { temperatureC: "Temperature", windMps: "Wind", pressureHpa: "Pressure" };
const hourMs = 3_600_000;

export const measured = (value, unit, digits = 1) => (value === null ? "–" : `${value.toFixed(digits).replace("-", "−")} ${unit}`);

/** The hour that is now, or the nearest that there is. */
export function indexOfNow(hours, nowMs = Date.now()) {
  const next = hours.findIndex(({ time }) => Date.parse(time) > nowMs);
  return next === -1 ? hours.length - 1 : Math.max(0, next - 1);
}

const place = byId("plot");
const table = byId("hours");
let answer; // the last that succeeded, of the city that is shown
let plot;
let cursor = 0;
/** Whether the cursor follows the time, or stays where somebody has put it. */
let follows = true;

const measure = () => document.querySelector("input[name=measure]:checked").value;

function moveTo(index) {
  const { hours, utcOffsetSeconds } = answer.body;
  cursor = Math.min(hours.length - 1, Math.max(0, index));
  const hour = hours[cursor];
  plot.moveTo(cursor, !follows);
  const when = dayAndHour(localTime(hour.time, utcOffsetSeconds));
  const all = Object.entries(units).map(([name, unit]) => measured(hour[name], unit, name === "pressureHpa" ? 0 : 1));
  byId("readout").replaceChildren(h("strong", null, when), ` — ${all.join(" · ")}`);
  place.setAttribute("aria-valuenow", String(cursor));
  place.setAttribute("aria-valuetext", `${when}, ${names[measure()]} ${measured(hour[measure()], units[measure()])}`);
}

function render() {
  if (!answer) return;
  const { hours, utcOffsetSeconds } = answer.body;
  const now = indexOfNow(hours);
  if (follows) cursor = now;
  const { temperatureC } = hours[now];
  byId("now").replaceChildren(
    measured(temperatureC, "°C", 0),
    h("small", null, `now, ${dayAndHour(localTime(new Date().toISOString(), utcOffsetSeconds)).split(", ")[1]} there`),
  );
  plot = draw(place, { hours, utcOffsetSeconds, measure: measure(), unit: units[measure()], nowMs: Date.now() });
  place.setAttribute("aria-valuemin", "0");
  place.setAttribute("aria-valuemax", String(hours.length - 1));
  moveTo(cursor);
  if (table.open) renderTable();
}

function renderTable() {
  if (!answer) return;
  const { hours, utcOffsetSeconds } = answer.body;
  table
    .querySelector("tbody")
    .replaceChildren(
      ...hours.map((hour) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, dayAndHour(localTime(hour.time, utcOffsetSeconds))),
          ...["temperatureC", "windMps"].map((name) => h("td", null, measured(hour[name], "").trim())),
          h("td", null, measured(hour.pressureHpa, "", 0).trim()),
        ),
      ),
    );
}

/** Shows what came; a failure leaves what is there and says so. `undefined`: another city, nothing is known. */
export function showForecast(next) {
  const box = byId("forecast");
  const problem = byId("forecast-problem");
  if (next === undefined) {
    answer = undefined;
    follows = true;
    for (const id of ["now", "readout", "plot", "forecast-freshness"]) byId(id).replaceChildren();
    box.dataset.state = "loading";
    problem.hidden = true;
    return;
  }
  if (next.ok && next.body.hours?.length > 0) answer = next;
  problem.hidden = next.ok;
  if (!next.ok) {
    const when = next.retryAfterMs ? " Asking again by itself." : "";
    problem.textContent = `${next.body.detail ?? "There is no forecast."}${when}`;
  }
  for (const element of [byId("measures"), place, byId("readout"), table]) element.hidden = answer === undefined;
  box.dataset.state = answer === undefined ? "missing" : next.ok ? "shown" : "kept";
  showFreshness(byId("forecast-freshness"), next, answer);
  if (answer) {
    byId("source").textContent =
      answer.body.source === "simulator"
        ? "Forecasts are simulated here, from NOAA's hourly normals of Seattle; WEATHER_URL selects a real API."
        : `Forecasts: ${answer.body.source}${/open-meteo/.test(answer.body.source) ? " (Open-Meteo.com, CC BY 4.0)" : ""}.`;
  }
  render();
}

export function startForecast() {
  new ResizeObserver(render).observe(place);
  for (const input of document.querySelectorAll("input[name=measure]")) input.addEventListener("change", render);
  table.addEventListener("toggle", () => table.open && renderTable());
  place.addEventListener("pointermove", (event) => {
    if (!plot) return;
    follows = false;
    moveTo(plot.indexAt(event.clientX));
  });
  place.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "mouse") return; // a finger that is lifted has chosen an hour
    follows = true;
    render();
  });
  const steps = {
    ArrowRight: 1,
    ArrowUp: 1,
    ArrowLeft: -1,
    ArrowDown: -1,
    PageUp: 24,
    PageDown: -24,
    Home: -Infinity,
    End: Infinity,
  };
  place.addEventListener("keydown", (event) => {
    const step = Object.hasOwn(steps, event.key) ? steps[event.key] : undefined;
    if (step === undefined || !plot) return;
    event.preventDefault();
    follows = false;
    moveTo(step === Infinity ? answer.body.hours.length - 1 : step === -Infinity ? 0 : cursor + step);
  });
  setInterval(render, hourMs / 60);
}
