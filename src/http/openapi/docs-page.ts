// The page at /docs: one HTML text without dependencies, which reads /openapi.json and builds itself by DOM calls, never from
// markup in data. Its style and script are allowed by their hashes, so a strict Content-Security-Policy holds.

import { createHash } from "node:crypto";

/** A page and the policy under which a browser may run it. */
export interface Page {
  readonly html: string;
  readonly contentSecurityPolicy: string;
}

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const escapeHtml = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const style = `
:root { color-scheme: light dark; --bg: light-dark(#fbfbf9, #14171a); --fg: light-dark(#1d2126, #e4e6e8); --soft: light-dark(#666e77, #98a1aa);
  --line: light-dark(#dfe1dc, #2c3238); --card: light-dark(#fff, #1b1f24); --get: light-dark(#0b6b4f, #57c8a1); --post: light-dark(#1d4ed8, #8db0ff);
  --change: light-dark(#92580a, #e0ab5b); --delete: light-dark(#b3261e, #ff9a92); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--fg); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 6rem; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.2rem 0 .6rem; font-size: 1.1rem; } h3 { margin: 1.2rem 0 .3rem; font-size: .9rem; color: var(--soft); }
a { color: inherit; } .soft { color: var(--soft); } code, pre, input, textarea, .path { font-family: ui-monospace, monospace; font-size: .88rem; }
input[type=search] { width: 100%; margin-top: 1.2rem; } dt { font-weight: 600; margin-top: 1rem; } dd { margin: 0; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; } details > div { padding: 0 1rem 1rem; border-top: 1px solid var(--line); }
summary { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; padding: .6rem 1rem; cursor: pointer; } summary .soft { margin-left: auto; }
.method { min-width: 4rem; font: 700 .8rem ui-monospace, monospace; color: var(--change); } .GET { color: var(--get); } .POST { color: var(--post); } .DELETE { color: var(--delete); }
pre { margin: .3rem 0; padding: .7rem; overflow: auto; max-height: 26rem; background: var(--bg); border: 1px solid var(--line); border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; } td { padding: .35rem .6rem .35rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
input, textarea { width: 100%; padding: .35rem .5rem; color: inherit; background: var(--bg); border: 1px solid var(--line); border-radius: 6px; } textarea { min-height: 7rem; }
button { margin-top: .6rem; padding: .4rem 1.1rem; font: inherit; color: var(--bg); background: var(--fg); border: 0; border-radius: 6px; cursor: pointer; }
`;

const script = `
"use strict";
const el = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
};
const typeOf = (schema) => {
  if (!schema || typeof schema !== "object") return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  const range = [["minimum", "≥"], ["maximum", "≤"], ["minLength", "length ≥"], ["maxLength", "length ≤"]]
    .filter(([key]) => key in schema && Math.abs(schema[key]) < 2 ** 53 - 1).map(([key, sign]) => sign + " " + schema[key]);
  const base = [schema.type ?? "anything"].flat().join(" | ") + (schema.format ? " (" + schema.format + ")" : "");
  return base + (range.length ? ", " + range.join(", ") : "") + ("default" in schema ? ", default " + JSON.stringify(schema.default) : "");
};
const outline = (schema, indent = "") => {
  if (schema?.type === "array") return "[ " + outline(schema.items, indent) + " ]";
  if (!schema?.properties) return schema?.allOf ? schema.allOf.map((part) => outline(part, indent)).join(" & ") : typeOf(schema);
  const inner = indent + "  ";
  const lines = Object.entries(schema.properties).map(([name, property]) =>
    inner + name + ((schema.required ?? []).includes(name) ? "" : "?") + ": " + outline(property, inner));
  return "{\\n" + lines.join("\\n") + "\\n" + indent + "}";
};
const example = (schema) => {
  if (!schema || typeof schema !== "object") return null;
  if ("default" in schema) return schema.default;
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if ("const" in schema) return schema.const;
  if (schema.anyOf) return example(schema.anyOf[0]);
  const type = [schema.type].flat()[0];
  if (type === "object") return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, property]) => [name, example(property)]));
  if (type === "array") return schema.items && typeof schema.items === "object" ? [example(schema.items)] : [];
  if (type === "integer" || type === "number") return Math.max(schema.minimum ?? 1, -999) === -999 ? 0 : schema.minimum ?? 1;
  if (type === "boolean") return true;
  if (schema.format === "email") return "ada@example.org";
  if (schema.format === "date") return "2026-01-31";
  if (schema.format === "date-time") return "2026-01-31T12:00:00Z";
  return "text".padEnd(schema.minLength ?? 0, "-");
};
const quote = (text) => "'" + text.replaceAll("'", "'\\\\''") + "'";
let token = "";

const operationView = (path, method, operation) => {
  const inputs = [];
  const rows = (operation.parameters ?? []).map((parameter) => {
    const input = el("input", { "aria-label": parameter.name, placeholder: parameter.required ? "required" : "" });
    if (parameter.in === "path") input.value = String(example(parameter.schema) ?? "");
    inputs.push([parameter, input]);
    return el("tr", {}, el("td", {}, el("code", {}, parameter.name), el("div", { class: "soft" }, parameter.in)),
      el("td", {}, typeOf(parameter.schema), parameter.description ? el("div", { class: "soft" }, parameter.description) : undefined), el("td", {}, input));
  });
  const bodySchema = operation.requestBody?.content["application/json"]?.schema;
  const body = bodySchema ? el("textarea", { "aria-label": "body", spellcheck: "false" }) : undefined;
  if (body) body.value = JSON.stringify(example(bodySchema), null, 2);
  const authorization = operation.security ? el("input", { "aria-label": "token", placeholder: "bearer token", autocomplete: "off" }) : undefined;
  if (authorization) authorization.value = token;

  const request = () => {
    let target = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") target = target.replace("{" + parameter.name + "}", encodeURIComponent(input.value));
      else if (input.value !== "" && parameter.in === "query") query.set(parameter.name, input.value);
      else if (input.value !== "") headers[parameter.name] = input.value;
    }
    if (authorization?.value) headers.authorization = "Bearer " + authorization.value;
    if (body) headers["content-type"] = "application/json";
    return { url: target + (query.size ? "?" + query : ""), headers, body: body?.value };
  };
  const curl = el("pre", {});
  const showCurl = () => {
    const { url, headers, body: text } = request();
    curl.textContent = ["curl" + (method === "GET" ? "" : " -X " + method) + " " + quote(location.origin + url),
      ...Object.entries(headers).map(([name, value]) => "-H " + quote(name + ": " + value)), ...(text ? ["-d " + quote(text)] : [])].join(" \\\\\\n  ");
  };
  const answer = el("pre", { "aria-live": "polite", "data-answer": "" });
  const answerTitle = el("h3", {});
  const send = el("button", { type: "submit" }, "Send");
  const form = el("form", {}, rows.length ? el("table", {}, el("tbody", {}, ...rows)) : undefined,
    authorization ? el("h3", {}, "Token") : undefined, authorization,
    body ? el("h3", {}, "Body") : undefined, body, el("h3", {}, "As a command"), curl, send);
  form.addEventListener("input", () => { if (authorization) token = authorization.value; showCurl(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    const started = performance.now();
    try {
      const { url, headers, body: text } = request();
      const response = await fetch(url, { method, headers, body: text });
      const type = response.headers.get("content-type") ?? "";
      let shown = await response.text();
      if (type.includes("json") && !type.includes("ndjson")) { try { shown = JSON.stringify(JSON.parse(shown), null, 2); } catch { /* shown as it came */ } }
      answerTitle.textContent = response.status + " " + response.statusText + " in " + Math.round(performance.now() - started) + " ms";
      answer.textContent = shown.length > 100000 ? shown.slice(0, 100000) + "\\n…" : shown;
    } catch (error) {
      answerTitle.textContent = "No answer";
      answer.textContent = String(error);
    }
    send.disabled = false;
    form.after(answerTitle, answer);
  });

  const responses = Object.entries(operation.responses).flatMap(([status, response]) => [
    el("h3", {}, (status === "default" ? "otherwise" : status) + " — " + response.description),
    ...Object.entries(response.content ?? {}).filter(([type]) => type !== "application/problem+json").map(([type, { schema }]) =>
      el("pre", {}, type + "\\n" + outline(schema))),
  ]);
  const multipart = operation.requestBody?.content["multipart/form-data"] ? el("p", { class: "soft" }, "Takes multipart/form-data.") : undefined;
  const content = el("div", {}, operation.description ? el("p", {}, operation.description) : undefined, multipart, form,
    bodySchema ? el("h3", {}, "Body schema") : undefined, bodySchema ? el("pre", {}, outline(bodySchema)) : undefined, ...responses);
  const view = el("details", { id: operation.operationId },
    el("summary", {}, el("span", { class: "method " + method }, method), el("span", { class: "path" }, path),
      operation.security ? el("span", { title: "needs a token" }, "🔒") : undefined, el("span", { class: "soft" }, operation.summary ?? "")), content);
  view.addEventListener("toggle", showCurl, { once: true });
  view.dataset.text = (method + " " + path + " " + (operation.summary ?? "")).toLowerCase();
  return view;
};

const main = document.querySelector("main");
fetch(main.dataset.document).then((response) => response.json()).then((api) => {
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationView(path, method.toUpperCase(), operation));
    }
  }
  const search = el("input", { type: "search", placeholder: "Find an endpoint", "aria-label": "Find an endpoint" });
  main.append(search);
  for (const [tag, views] of groups) main.append(el("section", {}, el("h2", {}, tag), ...views));
  search.addEventListener("input", () => {
    for (const section of main.querySelectorAll("section")) {
      let any = false;
      for (const view of section.querySelectorAll("details")) any = !(view.hidden = !view.dataset.text.includes(search.value.toLowerCase())) || any;
      section.hidden = !any;
    }
  });
  const linked = location.hash && document.getElementById(location.hash.slice(1));
  if (linked) { linked.open = true; linked.scrollIntoView(); }
  main.dataset.ready = "";
}).catch((error) => main.append(el("p", {}, "The document could not be read: " + error)));
`;

const policy = (scriptHash: string, connect: string): string =>
  `default-src 'none'; style-src ${hashOf(style)}; script-src ${scriptHash}; connect-src ${connect}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

const head = (title: string): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escapeHtml(title)}</title><link rel="icon" href="data:,"><style>${style}</style></head>`;

/** The page that lists the endpoints and tries them. `base` is the prefix under which everything is served. */
export function docsPage(title: string, version: string, base: string): Page {
  const html = `${head(title)}<body><main data-document="${escapeHtml(base)}/openapi.json"><h1>${escapeHtml(title)}</h1><p class="soft">Version ${escapeHtml(version)} · <a href="${escapeHtml(base)}/openapi.json">OpenAPI document</a> · <a href="${escapeHtml(base)}/docs/problems">Problems</a></p></main><script>${script}</script></body></html>`;
  return { html, contentSecurityPolicy: policy(hashOf(script), "'self'") };
}

/** One kind of problem, for people. */
export interface ProblemEntry {
  readonly code: string;
  readonly status: number;
  readonly when: string;
  readonly next: string;
}

/** The page that lists the kit's problems; `type` of a problem leads here. */
export function problemsPage(title: string, entries: readonly ProblemEntry[], base: string): Page {
  const items = entries.map(
    ({ code, status, when, next }) =>
      `<dt id="${escapeHtml(code)}"><code>${escapeHtml(code)}</code> <span class="soft">${status}</span></dt><dd>${escapeHtml(when)} ${escapeHtml(next)}</dd>`,
  );
  const html = `${head(`${title}: problems`)}<body><main><h1>Problems</h1><p class="soft">What <code>code</code> in a problem response means. The <a href="${escapeHtml(base)}/docs">endpoints</a> have codes of their own besides.</p><dl>${items.join("")}</dl></main></body></html>`;
  return { html, contentSecurityPolicy: policy("'none'", "'none'") };
}
