// Keeps the code blocks of the documentation equal to the code they show. A block is marked by a comment before its fence:
//
//   <!-- snippet: examples/weather/src/cities/list.ts#region-name -->
//
// and the region in the file by `// #region region-name` and `// #endregion`. Without arguments the blocks are rewritten, and
// made where there is only the comment; with --check a difference is a failure.

import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./setup.mjs";

const check = process.argv.includes("--check");
const pages = ["*.md", "docs/**/*.md", "examples/weather/**/*.md", "bench/*.md"].flatMap((pattern) =>
  globSync(pattern, { cwd: root, exclude: (path) => String(path).includes("node_modules") }),
);
const marker = /(<!-- snippet: (\S+?)#(\S+) -->\n+```[\w-]*\n)([\s\S]*?)(^```$)/gm;
/** One whose block has yet to be made. */
const bare = /^(<!-- snippet: \S+?\.(\w+)#\S+ -->)\n+(?!```|\n)/gm;
const problems = [];

function region(page, file, name) {
  const path = join(root, file);
  if (!existsSync(path)) return void problems.push(`${page}: ${file} does not exist`);
  const lines = readFileSync(path, "utf8").split("\n");
  const first = lines.findIndex((line) => new RegExp(`#region ${name}\\s*(-->|\\*/)?$`).test(line));
  const last = lines.findIndex((line, i) => i > first && /#endregion/.test(line));
  if (first === -1 || last === -1) return void problems.push(`${page}: ${file} has no region "${name}"`);
  const inside = lines.slice(first + 1, last).filter((line) => !/#(end)?region/.test(line));
  const indent = Math.min(...inside.filter((line) => line.trim()).map((line) => line.match(/^ */)[0].length));
  return `${inside.map((line) => line.slice(indent)).join("\n")}\n`;
}

for (const page of pages) {
  const path = join(root, page);
  const text = readFileSync(path, "utf8");
  const fenced = text.replace(bare, (_, comment, language) => `${comment}\n\`\`\`${language}\n\`\`\`\n\n`);
  const filled = fenced.replace(marker, (block, head, file, name, body, tail) => {
    const code = region(page, file, name);
    return code === undefined ? block : head + code + tail;
  });
  if (filled === text) continue;
  if (check) problems.push(`${page}: a code block differs from its file; run npm run snippets`);
  else writeFileSync(path, filled);
}
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
