// The page: which city is shown stands in its address, and everything is asked again while somebody looks.

import { ask } from "./api.js";
import { byId } from "./dom.js";
import { loadElsewhere } from "./elsewhere.js";
import { showForecast, startForecast } from "./forecast.js";
import { countAges } from "./freshness.js";
import { loadReports, startReports } from "./reports.js";
import { population, regionName, startSearch } from "./search.js";

const seattle = 5809844;

/** The server answers from memory unless something has changed, so asking often costs it little. */
const everyMs = 10_000;

let shown;
let asking;
let retry;

const cityInAddress = () => {
  const id = Number(/^#(\d{1,10})$/.exec(location.hash)?.[1]);
  return id > 0 ? id : seattle;
};

async function loadForecast(signal) {
  clearTimeout(retry);
  const id = shown;
  const answer = await ask(`/cities/${id}/forecast`, { signal });
  if (id !== shown) return;
  showForecast(answer);
  if (!answer.ok && answer.retryAfterMs) retry = setTimeout(() => void quietly(loadForecast(asking.signal)), answer.retryAfterMs);
}

/** What is asked for no longer needs no answer. */
const quietly = (work) => work.catch((error) => error.name === "AbortError" || console.error(error));

function nameCity({ name, country, adminCode, population: people, latitude, longitude }) {
  document.title = `${name} · Weather`;
  byId("city").textContent = name;
  const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(2)}° ${value < 0 ? minus : plus}`;
  byId("where").textContent = [
    regionName(adminCode, country),
    population(people),
    `${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

async function show(id) {
  shown = id;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  showForecast(undefined);
  const naming = ask(`/cities/${id}`, { signal }).then((city) => {
    if (city.ok) return nameCity(city.body);
    byId("city").textContent = city.status === 404 ? "No such city" : "Not to be had at the moment";
    byId("where").textContent = city.body.detail ?? "";
  });
  await Promise.all([naming, loadForecast(signal), loadReports(id, signal)].map(quietly));
  document.body.dataset.shown = String(id);
}

const choose = ({ id }) => {
  if (cityInAddress() === id && shown === id) return;
  location.hash = String(id);
  byId("city").focus();
  scrollTo({ top: 0 });
};

function refresh() {
  if (document.hidden) return;
  const { signal } = asking;
  for (const work of [loadForecast(signal), loadReports(shown, signal), loadElsewhere(choose, signal)]) void quietly(work);
}

startForecast();
startReports();
startSearch(choose);
addEventListener("hashchange", () => void show(cityInAddress()));
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, everyMs);
setInterval(() => countAges(["forecast-freshness", "reports-freshness", "elsewhere-freshness"].map(byId)), 1000);
void show(cityInAddress());
void quietly(loadElsewhere(choose));
