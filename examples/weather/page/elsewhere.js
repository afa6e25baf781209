// A glance at other cities: one question for all of them, and whatever was there in time.

import { ask } from "./api.js";
import { byId, h } from "./dom.js";
import { indexOfNow, measured } from "./forecast.js";
import { showFreshness } from "./freshness.js";

/** Tokyo, Mumbai, Nairobi, Berlin, New York, Lima, Sydney. */
const cities = [1850147, 1275339, 184745, 2950159, 5128581, 3936456, 2147714];

const why = {
  "not-found": "no such city here",
  late: "did not come in time",
  unavailable: "its API does not answer",
  busy: "too many ask its API",
  invalid: "its API answers with something else",
};

/** What was only late may be there at once. */
const retryMs = 2_000;

let answer;
let retry;

export async function loadElsewhere(onChoice, signal) {
  clearTimeout(retry);
  const next = await ask(`/forecasts?cities=${cities.join(",")}`, { signal });
  if (next.ok) answer = next;
  showFreshness(byId("elsewhere-freshness"), next, answer);
  if (!answer) return;
  const { data, missing } = answer.body;
  if (missing.some(({ reason }) => reason === "late")) retry = setTimeout(() => void loadElsewhere(onChoice), retryMs);
  const reasonOf = (id) => missing.find(({ cityId, part }) => cityId === id && part === "forecast")?.reason;
  byId("elsewhere").replaceChildren(
    ...data.map(({ city, forecast, latestReport }) => {
      const degrees = forecast ? measured(forecast.hours[indexOfNow(forecast.hours)].temperatureC, "°C", 0) : "–";
      const line = (text) => h("span", { class: "quiet" }, text);
      return h(
        "li",
        null,
        h(
          "button",
          { type: "button", onclick: () => onChoice(city) },
          h("span", null, city.name),
          h("span", { class: "degrees" }, degrees),
          forecast ? undefined : line(`Forecast ${why[reasonOf(city.id)] ?? "missing"}`),
          latestReport ? line(`“${latestReport.text}”`) : undefined,
        ),
      );
    }),
  );
}
