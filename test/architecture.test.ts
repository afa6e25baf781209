// Holds the source to docs/architecture.md. The rules are in architecture/rules.ts; each is shown here to catch what breaks it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { factsOf } from "./architecture/imports.ts";
import { type Rule, describe, readTree, violationsOf } from "./architecture/rules.ts";
import { tokensOf } from "./architecture/tokens.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

suite("the source", () => {
  test("breaks no rule of the architecture", () => {
    const violations = violationsOf(root);
    assert.equal(violations.length, 0, `\n${describe(violations)}`);
  });

  test("is read completely: every file with an import statement is seen to import something", () => {
    const { files } = readTree(root);
    assert.ok(files.size > 50, `${files.size} files`);
    for (const [file, { imports }] of files) {
      const statements =
        readFileSync(join(root, file), "utf8").match(
          /^(?:import\b(?!\s*[.(])|export\s+(?:type\s+)?(?:\*|\{[^}]*\}\s+from)|\}\s+from\b)/gm,
        ) ?? [];
      // A statement over several lines matches twice: where it begins and where it says from.
      const atLeast = Math.ceil(statements.length / 2);
      assert.ok(imports.length >= atLeast, `${file}: ${imports.length} imports seen of ${atLeast} at least`);
    }
  });

  test("has every channel that it declares in docs/channels.md, and no other", () => {
    const page = readFileSync(join(root, "docs/channels.md"), "utf8");
    const listed = [...page.matchAll(/^\| `(millrace:[^`]+)`/gm)].map(([, name]) => name);
    const declared = globSync("src/*/channels.ts", { cwd: root })
      .filter((path) => !/core.channels\.ts$/.test(path))
      .flatMap((path) => tokensOf(readFileSync(join(root, path), "utf8")))
      .filter(({ kind, text }) => kind === "string" && text.startsWith("millrace:"))
      .map(({ text }) => text);
    assert.deepEqual(listed.toSorted(), declared.toSorted());
  });

  test("does no work when it is imported: no output, nothing left open, the process ends by itself", () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      exports: Record<string, string | { "millrace-source": string }>;
    };
    const doors = Object.values(exports).flatMap((target) =>
      typeof target === "string" ? [] : [new URL(target["millrace-source"], `file://${root}`).href],
    );
    assert.ok(doors.length >= 5);
    const code = `
      const before = process.listenerCount("exit") + process.listenerCount("SIGTERM") + process.listenerCount("uncaughtException");
      for (const door of ${JSON.stringify(doors)}) await import(door);
      const after = process.listenerCount("exit") + process.listenerCount("SIGTERM") + process.listenerCount("uncaughtException");
      console.log(JSON.stringify({ open: process.getActiveResourcesInfo().filter((name) => !/^(?:PipeWrap|TTYWrap|FSReqPromise)$/.test(name)), listeners: after - before }));`;
    const directory = mkdtempSync(join(tmpdir(), "millrace-import-"));
    try {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        ["--conditions=millrace-source", "--input-type=module", "-e", code],
        {
          cwd: directory,
          encoding: "utf8",
          timeout: 60_000,
        },
      );
      assert.equal(stderr, "");
      assert.equal(status, 0);
      assert.deepEqual(JSON.parse(stdout), { open: [], listeners: 0 });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

/** A small tree that breaks no rule. */
const sound: Readonly<Record<string, string>> = {
  "package.json": JSON.stringify({
    name: "millrace",
    exports: { ".": {}, "./database": {}, "./package.json": "" },
    dependencies: { pg: "8" },
    peerDependencies: { typebox: "1" },
  }),
  "src/index.ts": 'export * from "./core/index.ts";\nexport { type Pool, pool } from "./database/index.ts";\n',
  "src/core/index.ts": '// The door.\nexport * from "./clock.ts";\n',
  "src/core/clock.ts": 'import { hrtime } from "node:process";\nexport const now = () => hrtime.bigint();\n',
  "src/core/clock.test.ts": 'import fc from "fast-check";\nimport { now } from "./clock.ts";\nfc.assert(now() > 0n);\n',
  "src/database/index.ts": 'export { type Pool, pool } from "./pool/pool.ts";\n',
  "src/database/pool/pool.ts":
    'import pg from "pg";\nimport { now } from "../../core/index.ts";\nimport type { Lane } from "./lane.ts";\nexport const pool = { pg, now };\nexport type Pool = Lane;\n',
  "src/database/pool/lane.ts": 'import type { Pool } from "./pool.ts";\nexport interface Lane { of: Pool }\n',
  "src/upstream/index.ts": 'export * from "./call.ts";\n',
  "src/upstream/call.ts": 'import { now } from "../core/index.ts";\nexport const call = now;\n',
  "src/cli/main.ts": 'import { pool } from "../database/index.ts";\nconsole.log(pool, process.env["DATABASE_URL"]);\n',
  "examples/mill/package.json": JSON.stringify({ name: "mill", dependencies: { millrace: "file:../..", csv: "1" } }),
  "examples/mill/src/main.ts":
    'import { pool } from "millrace/database";\nimport csv from "csv";\nconsole.log(pool, csv, process.env.PORT);\n',
};

const planted: readonly {
  readonly rule: Rule;
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly where: string;
}[] = [
  {
    rule: "unplaced folder",
    name: "a folder without a place in the order",
    files: { "src/utils/index.ts": 'export * from "node:path";\n' },
    where: "src/utils",
  },
  {
    rule: "unplaced folder",
    name: "a file beside the folders",
    files: { "src/helpers.ts": "export const a = 1;\n" },
    where: "src/helpers.ts",
  },
  {
    rule: "floor",
    name: "an import from a higher floor",
    files: { "src/core/up.ts": 'import { pool } from "../database/index.ts";\nexport { pool };\n' },
    where: "src/core/up.ts:1",
  },
  {
    rule: "floor",
    name: "an import of a type from a higher floor",
    files: { "src/core/up.ts": '\nimport type { Pool } from "../database/index.ts";\nexport type P = Pool;\n' },
    where: "src/core/up.ts:2",
  },
  {
    rule: "floor",
    name: "a type named through import()",
    files: { "src/core/up.ts": 'export type P = import("../database/index.ts").Pool;\n' },
    where: "src/core/up.ts:1",
  },
  {
    rule: "floor",
    name: "a re-export from a higher floor",
    files: { "src/core/up.ts": 'export * as database from "../database/index.ts";\n' },
    where: "src/core/up.ts:1",
  },
  {
    rule: "floor",
    name: "a dynamic import from a higher floor",
    files: { "src/core/up.ts": 'export const load = () => import("../database/index.ts");\n' },
    where: "src/core/up.ts:1",
  },
  {
    rule: "floor",
    name: "a bare import from a higher floor",
    files: { "src/core/up.ts": 'import "../database/index.ts";\n' },
    where: "src/core/up.ts:1",
  },
  {
    rule: "floor",
    name: "an import between folders on one floor",
    files: { "src/upstream/side.ts": 'import { pool } from "../database/index.ts";\nexport { pool };\n' },
    where: "src/upstream/side.ts:1",
  },
  {
    rule: "floor",
    name: "an import of the root door",
    files: { "src/cli/root.ts": 'import { pool } from "../index.ts";\nconsole.log(pool);\n' },
    where: "src/cli/root.ts:1",
  },
  {
    rule: "floor",
    name: "an import in a test from a higher floor",
    files: { "src/core/up.test.ts": 'import { pool } from "../database/index.ts";\nconsole.log(pool);\n' },
    where: "src/core/up.test.ts:1",
  },
  {
    rule: "door",
    name: "an import past a folder's door",
    files: { "src/cli/deep.ts": 'import { pool } from "../database/pool/pool.ts";\nconsole.log(pool);\n' },
    where: "src/cli/deep.ts:1",
  },
  {
    rule: "door",
    name: "a root door that goes past a folder's",
    files: { "src/index.ts": 'export * from "./core/clock.ts";\n' },
    where: "src/index.ts:1",
  },
  {
    rule: "missing door",
    name: "a folder without a door",
    files: { "src/redis/client.ts": "export const a = 1;\n" },
    where: "src/redis",
  },
  {
    rule: "door does work",
    name: "a door with code of its own",
    files: { "src/core/index.ts": 'export * from "./clock.ts";\nexport const a = 1;\n' },
    where: "src/core/index.ts",
  },
  {
    rule: "door does work",
    name: "a door that imports",
    files: { "src/core/index.ts": 'import "./clock.ts";\nexport * from "./clock.ts";\n' },
    where: "src/core/index.ts",
  },
  {
    rule: "package",
    name: "a package in core",
    files: { "src/core/pg.ts": 'import pg from "pg";\nexport { pg };\n' },
    where: "src/core/pg.ts:1",
  },
  {
    rule: "package",
    name: "a package in concurrency outside of the one file that is for it",
    files: { "src/concurrency/index.ts": 'export * from "./a.ts";\n', "src/concurrency/a.ts": 'export * from "piscina";\n' },
    where: "src/concurrency/a.ts:1",
  },
  {
    rule: "package",
    name: "a package that package.json does not name",
    files: { "src/database/x.ts": 'import { a } from "@left/pad/deep";\nexport { a };\n' },
    where: "src/database/x.ts:1",
  },
  {
    rule: "package",
    name: "a require of one",
    files: {
      "src/database/x.ts":
        'import { createRequire } from "node:module";\nexport default createRequire(import.meta.url)("left-pad");\n',
    },
    where: "src/database/x.ts:2",
  },
  {
    rule: "package",
    name: "a require of one by another name",
    files: {
      "src/database/x.ts":
        'import { createRequire } from "node:module";\nconst load = createRequire(import.meta.url);\nexport default load("left-pad");\n',
    },
    where: "src/database/x.ts:3",
  },
  {
    rule: "package",
    name: "a built-in module without node:",
    files: { "src/core/fs.ts": 'import fs from "fs";\nexport { fs };\n' },
    where: "src/core/fs.ts:1",
  },
  {
    rule: "package",
    name: "a package that an example does not name",
    files: { "examples/mill/src/x.ts": 'import pg from "pg";\nexport { pg };\n' },
    where: "examples/mill/src/x.ts:1",
  },
  {
    rule: "itself",
    name: "the kit importing itself by name",
    files: { "src/cli/self.ts": 'import { pool } from "millrace/database";\nconsole.log(pool);\n' },
    where: "src/cli/self.ts:1",
  },
  {
    rule: "outside",
    name: "an import of an example",
    files: { "src/cli/x.ts": 'import "../../examples/mill/src/main.ts";\n' },
    where: "src/cli/x.ts:1",
  },
  {
    rule: "outside",
    name: "an import of test code",
    files: { "src/cli/x.ts": 'import "../../test/harness/postgres.ts";\n' },
    where: "src/cli/x.ts:1",
  },
  {
    rule: "outside",
    name: "a worker outside of src",
    files: { "src/cli/x.ts": 'export const url = new URL("../../bench/worker.ts", import.meta.url);\n' },
    where: "src/cli/x.ts:1",
  },
  {
    rule: "unresolved",
    name: "an import of nothing",
    files: { "src/core/x.ts": 'export * from "./gone.ts";\n' },
    where: "src/core/x.ts:1",
  },
  {
    rule: "test import",
    name: "code that imports a test",
    files: { "src/core/x.ts": 'export * from "./clock.test.ts";\n' },
    where: "src/core/x.ts:1",
  },
  {
    rule: "computed import",
    name: "an import that nobody can read",
    files: { "src/core/x.ts": "export const load = (name: string) => import(`./${name}.ts`);\n" },
    where: "src/core/x.ts:1",
  },
  {
    rule: "example",
    name: "an example that goes past the exports",
    files: { "examples/mill/src/x.ts": 'export * from "millrace/database/pool";\n' },
    where: "examples/mill/src/x.ts:1",
  },
  {
    rule: "example",
    name: "an example that reaches into src",
    files: { "examples/mill/src/x.ts": 'export * from "../../../src/index.ts";\n' },
    where: "examples/mill/src/x.ts:1",
  },
  {
    rule: "environment",
    name: "a capability that reads the environment",
    files: { "src/database/x.ts": "export const url = process.env.URL;\n" },
    where: "src/database/x.ts:1",
  },
  {
    rule: "environment",
    name: "one that does so in other words",
    files: { "src/database/x.ts": '\nexport const url = process["env"]["URL"];\n' },
    where: "src/database/x.ts:2",
  },
  {
    rule: "environment",
    name: "one that imports it",
    files: { "src/database/x.ts": 'import { argv, env } from "node:process";\nexport const url = [env["URL"], argv];\n' },
    where: "src/database/x.ts:1",
  },
  {
    rule: "environment",
    name: "one that takes it apart",
    files: { "src/database/x.ts": "const { env } = process;\nexport const url = env;\n" },
    where: "src/database/x.ts:1",
  },
  {
    rule: "environment",
    name: "a feature of an example that reads it",
    files: { "examples/mill/src/wheel/x.ts": "export const port = process.env.PORT;\n" },
    where: "examples/mill/src/wheel/x.ts:1",
  },
  {
    rule: "cycle",
    name: "files that import each other",
    files: {
      "src/core/a.ts": 'export * from "./b.ts";\n',
      "src/core/b.ts": 'export * from "./c.ts";\n',
      "src/core/c.ts": 'import { a } from "./a.ts";\nexport { a };\n',
    },
    where: "src/core/a.ts",
  },
  {
    rule: "cycle",
    name: "a file that imports itself",
    files: { "src/core/a.ts": 'import { a } from "./a.ts";\nexport { a };\n' },
    where: "src/core/a.ts",
  },
];

function inTree<Result>(files: Readonly<Record<string, string>>, work: (root: string) => Result): Result {
  const directory = mkdtempSync(join(tmpdir(), "millrace-architecture-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), text);
    }
    return work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

suite("a violation that is planted is caught", () => {
  test("and a tree without one has none", () => {
    inTree(sound, (directory) => assert.equal(describe(violationsOf(directory)), ""));
  });

  for (const { rule, name, files, where } of planted) {
    test(name, () => {
      inTree({ ...sound, ...files }, (directory) => {
        const violations = violationsOf(directory);
        assert.deepEqual(
          violations.filter((violation) => violation.rule === rule).map((violation) => violation.where),
          [where],
          describe(violations),
        );
      });
    });
  }
});

suite("the reader of imports", () => {
  const specifiers = (source: string) => factsOf(source).imports.map(({ specifier }) => specifier);

  test("sees every form, over any number of lines", () => {
    const source = `#!/usr/bin/env node
      import "a1";import a from 'a2'; import * as b from "a3"
      import c, { d, type E, default as f } from "a4";
      import {
        g, // from "not this"
        h as "odd name",
      } from /* from "nor this" */ "a5";
      import type { I } from "a6"; import type J from "a7"; import type * as K from "a8";
      import type from "a9"; import { from } from "a10"; import { type } from "a11";
      import json from "a12" with { type: "json" };
      export * from "b1"; export * as l from "b2"; export { m, type N } from "b3"; export type { O } from "b4"; export type * from "b5";
      const p = await import("c1"), q = import('c2', { with: {} }), r = import(\`c3\`);
      type S = typeof import("c4"); let t: import("c5").T;
      const w = new Worker(new URL("./d1.ts", import.meta.url));
      import.meta.resolve("d2");
    `;
    assert.deepEqual(
      specifiers(source),
      "a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 a11 a12 b1 b2 b3 b4 b5 c1 c2 c3 c4 c5 ./d1.ts d2".split(" "),
    );
  });

  test("sees none where there is none", () => {
    const source = `
      // import "a"
      /* import "a"; export * from "a" */
      const a = 'import "a"', b = "import('a')", c = \`import "a"; \${"export * from 'a'"} import("a")\`;
      const d = /import "a"/g, e = x / y / import.meta.dirname, f = [/["'\`]/, /[/"]/], g = s.replace(/"/g, "'");
      const h = { import: "a", export: 1 }, i = h.import("a"), j = { from: "a" };
      export const k = 1; export function l() {} export { k as m }; export default "a"; export type N = "a";
      export { d, e };
      const from = "a";
      if (a) /"/.test(b); const o = (a) / 2; const p = "\\"; import 'a'";
    `;
    assert.deepEqual(specifiers(source), []);
  });

  test("sees the import in a template's code, and not in its text", () => {
    assert.deepEqual(specifiers('const a = `import("x") ${await import("y")} ${`${import("z")}`} import("x")`;'), ["y", "z"]);
  });

  test("says which imports are gone at run time", () => {
    const source = `import type { A } from "t1"; import { type B, type C } from "t2"; import { type D, e } from "v1"; import f, { type G } from "v2";
      export type { H } from "t3"; export { type I } from "t4"; export { j } from "v3"; import {} from "v4"; type K = typeof import("t5"); import "v5";`;
    assert.deepEqual(
      factsOf(source).imports.map(({ specifier, typeOnly }) => [specifier, typeOnly]),
      [
        ["t1", true],
        ["t2", true],
        ["v1", false],
        ["v2", false],
        ["t3", true],
        ["t4", true],
        ["v3", false],
        ["v4", false],
        ["t5", true],
        ["v5", false],
      ],
    );
  });

  test("knows the line of everything", () => {
    const lines = tokensOf('a\n/* \n */ b "c"\n`d\n${e}\n`\nf').map(({ text, line }) => `${text}:${line}`);
    assert.deepEqual(
      lines.filter((entry) => /^[abcef]:/.test(entry)),
      ["a:1", "b:3", "c:3", "e:5", "f:7"],
    );
  });
});
