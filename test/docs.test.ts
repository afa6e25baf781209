// The documentation's links lead somewhere, and so do the references to it in the code.

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, posix, sep } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const filesOf = (...patterns: readonly string[]) =>
  globSync([...patterns], { cwd: root, exclude: (path) => /node_modules|dist|\.millrace/.test(path) }).map((path) =>
    path.split(sep).join("/"),
  );

const textOf = (file: string) => readFileSync(join(root, file), "utf8");

/** The anchors of a page as GitHub makes them of its headings. */
const anchorsOf = (page: string) =>
  new Set(
    [...page.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );

suite("the documentation", () => {
  const pages = filesOf("*.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md");

  test("links only to what is there", () => {
    assert.ok(pages.length > 10);
    const broken: string[] = [];
    for (const page of pages) {
      const prose = textOf(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
      for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target!)) continue;
        const [path, anchor] = target!.split("#");
        const file = path === "" ? page : posix.normalize(posix.join(dirname(page), path!));
        if (!existsSync(join(root, file))) broken.push(`${page} → ${target}`);
        else if (anchor !== undefined && file.endsWith(".md") && !anchorsOf(textOf(file)).has(anchor))
          broken.push(`${page} → ${target}`);
      }
    }
    assert.deepEqual(broken, []);
  });

  test("has every page that the code refers to", () => {
    const missing = filesOf("src/**/*.ts", "test/**/*.ts", "examples/*/src/**/*.ts", "scripts/*.mjs").flatMap((file) =>
      [...textOf(file).matchAll(/(?<![\w/])docs\/[\w/-]+\.md/g)]
        .map(([page]) => page)
        .filter((page) => !existsSync(join(root, page)))
        .map((page) => `${file} → ${page}`),
    );
    assert.deepEqual(missing, []);
  });

  test("shows code only from files: every block of several lines is a snippet, a command, or names no language", () => {
    const loose: string[] = [];
    for (const page of pages) {
      const text = textOf(page);
      for (const match of text.matchAll(/^```(ts|typescript|js|javascript)\n([\s\S]*?)^```$/gm)) {
        const lines = match[2]!.trim().split("\n");
        const before = text.slice(0, match.index).trimEnd().split("\n").at(-1)!;
        if (lines.length > 1 && !before.startsWith("<!-- snippet: ")) loose.push(`${page}: ${lines[0]}`);
      }
    }
    assert.deepEqual(loose, []);
  });
});
