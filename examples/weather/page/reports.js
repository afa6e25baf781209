// What people report from the city that is shown, and the form for one's own.

import { ask, sentences, session } from "./api.js";
import { byId, h } from "./dom.js";
import { measured } from "./forecast.js";
import { duration, showFreshness } from "./freshness.js";

const atOnce = 5;

let cityId;
let answer;
let older = [];
let me;

const ago = (time) => {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return seconds < 10 ? "just now" : `${duration(seconds)} ago`;
};

function item(report) {
  const { author, createdAt, temperature, text, tags, commentCount } = report;
  const facts = [author.name, ago(createdAt), temperature !== null && measured(temperature, "°C")];
  if (commentCount > 0) facts.push(commentCount === 1 ? "1 comment" : `${commentCount} comments`);
  return h(
    "li",
    null,
    h("p", { class: "text" }, text),
    h("p", { class: "quiet" }, ...tags.map((tag) => h("span", { class: "tag" }, tag)), facts.filter(Boolean).join(" · ")),
  );
}

function render() {
  const reports = [...(answer?.body.data ?? []), ...older];
  const seen = new Set();
  const fresh = reports.filter(({ id }) => !seen.has(id) && seen.add(id));
  byId("reports").replaceChildren(
    ...(fresh.length > 0 ? fresh.map(item) : answer ? [h("li", { class: "quiet" }, "Nobody has reported from here yet.")] : []),
  );
}

let cursor = null;

async function showOlder() {
  const button = byId("more");
  button.disabled = true;
  const forCity = cityId;
  const next = await ask(`/cities/${cityId}/reports?limit=${atOnce}&cursor=${encodeURIComponent(cursor)}`);
  button.disabled = false;
  if (forCity !== cityId || !next.ok) return;
  older.push(...next.body.data);
  cursor = next.body.page.next;
  button.hidden = cursor === null;
  render();
}

/** Asks for the newest reports of `id`, another city or the same again. */
export async function loadReports(id, signal) {
  if (id !== cityId) {
    cityId = id;
    answer = undefined;
    older = [];
    byId("reports").replaceChildren();
    byId("more").hidden = true;
  }
  const next = await ask(`/cities/${id}/reports?limit=${atOnce}`, { signal });
  if (id !== cityId) return;
  if (next.ok) {
    answer = next;
    if (older.length === 0) {
      cursor = next.body.page.next;
      byId("more").hidden = cursor === null;
    }
  }
  showFreshness(byId("reports-freshness"), next, answer);
  render();
}

const field = (label, properties) => h("label", null, label, h("input", properties));

/** Runs `work` while the form is disabled, and shows what it was refused for. */
function onSubmit(form, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = form.querySelector(".error");
    const buttons = form.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    error.textContent = "";
    try {
      const refused = await work(new FormData(form), event.submitter);
      if (refused) error.textContent = sentences(refused).join(". ");
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  });
  return form;
}

const problemLine = () => h("p", { class: "error", role: "alert" });

function signInForm() {
  const form = h(
    "form",
    { "aria-label": "Sign in" },
    h(
      "div",
      { class: "row" },
      field("Email", { name: "email", type: "email", required: true, autocomplete: "email", maxlength: 254 }),
      field("Password", {
        name: "password",
        type: "password",
        required: true,
        minlength: 8,
        maxlength: 200,
        autocomplete: "current-password",
      }),
    ),
    field("Name, for a new account", { name: "name", autocomplete: "name", maxlength: 100 }),
    h("div", { class: "row" }, h("button", { value: "in" }, "Sign in"), h("button", { value: "up", class: "plain" }, "Sign up")),
    problemLine(),
  );
  return onSubmit(form, async (data, submitter) => {
    const { email, password, name } = Object.fromEntries(data);
    if (submitter?.value === "up") {
      const created = await ask("/users", { method: "POST", body: { email, password, name } });
      if (!created.ok) return created;
    }
    const signedIn = await ask("/sessions", { method: "POST", body: { email, password } });
    if (!signedIn.ok) return signedIn;
    session.token = signedIn.body.token;
    await showAccount();
    return undefined;
  });
}

function reportForm() {
  const form = h(
    "form",
    { "aria-label": "Report the weather" },
    h("label", null, "What is it like?", h("textarea", { name: "text", required: true, maxlength: 5000, rows: 2 })),
    h(
      "div",
      { class: "row" },
      field("Temperature, °C", { name: "temperature", type: "number", min: -100, max: 70, step: "any" }),
      field("Tags, with commas", { name: "tags", maxlength: 200 }),
      h("button", null, "Report"),
    ),
    problemLine(),
    h(
      "p",
      { class: "quiet" },
      `Signed in as ${me.name}. `,
      h("button", { type: "button", class: "plain", onclick: () => ((session.token = undefined), showAccount()) }, "Sign out"),
    ),
  );
  return onSubmit(form, async (data) => {
    const { text, temperature, tags } = Object.fromEntries(data);
    const body = {
      cityId,
      text,
      ...(temperature !== "" && { temperature: Number(temperature) }),
      tags: tags
        .split(",")
        .map((tag) => tag.trim())
        .filter((tag) => tag !== ""),
    };
    const created = await ask("/reports", { method: "POST", body, signed: true });
    if (created.status === 401) {
      session.token = undefined;
      await showAccount();
    }
    if (!created.ok) return created;
    form.reset();
    await loadReports(cityId);
    return undefined;
  });
}

async function showAccount() {
  const answered = session.token ? await ask("/me", { signed: true }) : undefined;
  if (answered?.status === 401) session.token = undefined;
  me = answered?.ok ? answered.body : undefined;
  byId("account").replaceChildren(
    me ? reportForm() : h("details", null, h("summary", null, "Sign in to report the weather"), signInForm()),
  );
}

export function startReports() {
  byId("more").addEventListener("click", () => void showOlder());
  void showAccount();
}
