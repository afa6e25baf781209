import { readFileSync, writeFileSync } from "node:fs";
for (const doc of ["keyset-pages", "eager-loading", "migrations"]) {
  const p = `docs/${doc}.md`; let s = readFileSync(p, "utf8");
  s = s.replace(/<!-- snippet: (\S+)#(\S+) -->\n```ts\n[\s\S]*?```/g, (_, f, r) => {
    const src = readFileSync(f, "utf8"); const m = new RegExp(`// #region ${r}\\n([\\s\\S]*?)\\n\\s*// #endregion`).exec(src);
    const lines = m[1].split("\n"); const ind = Math.min(...lines.filter((l) => l.trim()).map((l) => l.match(/^ */)[0].length));
    return `<!-- snippet: ${f}#${r} -->\n\`\`\`ts\n${lines.map((l) => l.slice(ind)).join("\n")}\n\`\`\``;
  });
  writeFileSync(p, s);
}
