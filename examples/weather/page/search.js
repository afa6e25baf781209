// The search for a city: a combobox as the ARIA Authoring Practices describe it.

import { ask } from "./api.js";
import { byId, h } from "./dom.js";

/** A pause in the typing, before the API is asked. */
const pauseMs = 120;

const regions = new Intl.DisplayNames("en", { type: "region", fallback: "code" });

/** "WA, United States" for "WA" in "US". Regions that are only numbers are left out. */
export function regionName(adminCode, country) {
  const region = /^[A-Z]/.test(adminCode) ? `${adminCode}, ` : "";
  try {
    return region + regions.of(country);
  } catch {
    return region + country;
  }
}

const people = new Intl.NumberFormat("en");

export const population = (count) => (count > 0 ? `${people.format(count)} people` : "");

/** Calls `onChoice` with the city that was chosen. */
export function startSearch(onChoice) {
  const input = byId("search");
  const list = byId("results");
  const status = byId("search-status");
  let cities = [];
  let active = -1;
  let timer;
  let asking;

  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  };
  const choose = (city) => {
    input.value = "";
    status.textContent = "";
    close();
    onChoice(city);
  };
  const activate = (index) => {
    active = index;
    for (const [i, option] of [...list.children].entries()) option.setAttribute("aria-selected", String(i === index));
    if (index < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", list.children[index].id);
    list.children[index].scrollIntoView({ block: "nearest" });
  };
  const show = () => {
    list.replaceChildren(
      ...cities.map((city, i) =>
        h(
          "li",
          {
            id: `result-${i}`,
            role: "option",
            "aria-selected": "false",
            onpointerdown: (event) => event.preventDefault(), // keeps the focus where it is
            onclick: () => choose(city),
          },
          h("span", null, city.name, " ", h("span", { class: "quiet" }, regionName(city.adminCode, city.country))),
          h("span", { class: "quiet" }, population(city.population)),
        ),
      ),
    );
    list.hidden = cities.length === 0;
    input.setAttribute("aria-expanded", String(cities.length > 0));
    activate(cities.length > 0 ? 0 : -1);
  };
  const search = async () => {
    asking?.abort();
    const text = input.value.trim();
    if (text === "") {
      status.textContent = "";
      return close();
    }
    asking = new AbortController();
    try {
      const answer = await ask(`/cities?limit=8&q=${encodeURIComponent(text)}`, { signal: asking.signal });
      cities = answer.ok ? answer.body.data : [];
      status.textContent = !answer.ok ? answer.body.detail : cities.length === 0 ? "No city begins like that." : "";
      show();
    } catch {
      // The next letter has been typed.
    }
  };
  const keys = {
    ArrowDown: () => activate(list.hidden ? -1 : (active + 1) % cities.length),
    ArrowUp: () => activate(list.hidden ? -1 : (active - 1 + cities.length) % cities.length),
    Enter: () => !list.hidden && active >= 0 && choose(cities[active]),
    Escape: () => (list.hidden ? (input.value = "") : close()),
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void search(), pauseMs);
  });
  input.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  input.addEventListener("blur", close);
  input.addEventListener("focus", () => void search());
}
