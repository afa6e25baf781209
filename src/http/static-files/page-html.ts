// References of an HTML page to files, made into those that name their content; and the import map by which modules find each other under
// such names while they say "./api.js". Pure.

import { hash } from "node:crypto";

export interface RenderedPage {
  readonly html: string;
  /** What a Content-Security-Policy needs in script-src for the import map; empty: there is none. */
  readonly scripts: string;
}

/** Comments and the texts of scripts stay as they are. Only what a page loads by itself is renamed; what people follow keeps its name. */
const pieces =
  /<!--[\s\S]*?-->|(<script\b(?:[^>"']|"[^"]*"|'[^']*')*>)([\s\S]*?)(?=<\/script)|<(?:link|img|source|audio|video|track|embed|input)\b(?:[^>"']|"[^"]*"|'[^']*')*>/gi;

const reference = /(\s(?:src|href|poster)\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/gi;

const isModule = /\stype\s*=\s*["']?module["'\s>]/i;
const isMap = /\stype\s*=\s*["']?importmap["'\s>]/i;
const isPreload = /^<link\b[\s\S]*\srel\s*=\s*["']?modulepreload["'\s>]/i;

/**
 * `path`: the page's own, to which relative references count. `urlOf`: the name of a file's content for the path of the file, if it has one.
 * `modules`: such names by the paths of all modules.
 */
export function renderPage(
  source: string,
  path: string,
  urlOf: (path: string) => string | undefined,
  modules: ReadonlyMap<string, string>,
): RenderedPage {
  const renamed = (value: string): string => {
    if (!URL.canParse(value, `http://page${path}`)) return value;
    const { host, pathname, search, hash: fragment } = new URL(value, `http://page${path}`);
    const url = host === "page" && search === "" ? urlOf(pathname) : undefined;
    return url === undefined ? value : url + fragment;
  };
  const withNames = (tag: string): string =>
    tag.replaceAll(reference, (_all, before: string, double?: string, single?: string, bare?: string) =>
      single === undefined ? `${before}"${renamed(double ?? bare ?? "")}"` : `${before}'${renamed(single)}'`,
    );
  let usesModules = false;
  let hasMap = false;
  let firstAt: number | undefined;
  let html = "";
  let readTo = 0;
  for (const match of source.matchAll(pieces)) {
    const [all, script, text] = match;
    html += source.slice(readTo, match.index);
    readTo = match.index + all.length;
    if (all.startsWith("<!--")) {
      html += all;
      continue;
    }
    if (script !== undefined) {
      hasMap ||= isMap.test(script);
      usesModules ||= isModule.test(script);
    }
    if (script !== undefined || isPreload.test(all)) firstAt ??= html.length;
    html += script === undefined ? withNames(all) : withNames(script) + text;
  }
  html += source.slice(readTo);
  if (!usesModules || hasMap || modules.size === 0) return { html, scripts: "" };
  // Before the first script: a map counts for what comes after it.
  const map = JSON.stringify({ imports: Object.fromEntries(modules) }).replaceAll("<", String.raw`\u003c`);
  return {
    html: `${html.slice(0, firstAt)}<script type="importmap">${map}</script>${html.slice(firstAt)}`,
    scripts: `'sha256-${hash("sha256", map, "base64")}'`,
  };
}
