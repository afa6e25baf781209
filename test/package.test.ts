// The package as its users get it: built from a clean copy, packed, and installed where none of this repository's other
// packages can be reached.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { tokensOf } from "./architecture/tokens.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

interface Manifest {
  readonly version: string;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
const doors = Object.keys(manifest.exports).filter((subpath) => subpath !== "./package.json");
const nameOf = (subpath: string) => `millrace${subpath.slice(1)}`;

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 120_000 });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${error?.message ?? ""}${stdout}${stderr}`);
  return stdout;
}

suite("package.json", () => {
  test("exports each folder of src that has a door, and nothing else", () => {
    const folders = readdirSync(join(root, "src")).filter((name) => existsSync(join(root, "src", name, "index.ts")));
    assert.deepEqual(doors.toSorted(), [".", ...folders.map((folder) => `./${folder}`)].toSorted());
  });

  test("points each of them to its source, its types and its code, in the order in which they are tried", () => {
    for (const subpath of doors) {
      const path = subpath === "." ? "index" : `${subpath.slice(2)}/index`;
      assert.deepEqual(Object.entries(manifest.exports[subpath]!), [
        ["millrace-source", `./src/${path}.ts`],
        ["types", `./dist/${path}.d.ts`],
        ["default", `./dist/${path}.js`],
      ]);
    }
  });

  test("pins every dependency to one version", () => {
    for (const [name, version] of Object.entries(manifest.dependencies)) assert.match(version, /^\d+\.\d+\.\d+(?:-[\w.]+)?$/, name);
  });
});

suite("the packed package", () => {
  let directory: string;
  let installed: string;
  let consumer: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), "millrace-package-"));
    const copy = join(directory, "copy");
    mkdirSync(copy);
    for (const name of readdirSync(root)) {
      if (/^(?:\..*|node_modules|dist|bench|examples|test|.*\.tgz)$/.test(name)) continue;
      cpSync(join(root, name), join(copy, name), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"), "dir");
    run(process.execPath, ["scripts/build.mjs"], copy);
    run("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", directory], copy);
    const [archive] = globSync("*.tgz", { cwd: directory });
    assert.ok(archive);

    consumer = join(directory, "consumer");
    installed = join(consumer, "node_modules", "millrace");
    mkdirSync(installed, { recursive: true });
    run("tar", ["-xzf", join(directory, archive), "-C", installed, "--strip-components=1"], directory);
    // What npm would install beside it, and no more: a package that is only here for development must not be needed.
    for (const name of [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies), "@types/node"]) {
      const link = join(consumer, "node_modules", name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(root, "node_modules", name), link, "dir");
    }
    writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", type: "module" }));
  });

  after(() => rmSync(directory, { recursive: true, force: true }));

  test("has the code, its types, the documentation and the licence, and neither tests nor sources", () => {
    for (const name of ["LICENSE", "README.md", "CHANGELOG.md", "dist/index.js", "dist/index.d.ts", "docs/architecture.md"]) {
      assert.ok(existsSync(join(installed, name)), name);
    }
    const files = globSync("**/*", { cwd: installed });
    assert.deepEqual(
      files.filter((file) => /\.test\.|(?:^|\/)(?:fixtures|src|test|examples|bench|node_modules)\//.test(file)),
      [],
    );
  });

  test("names only files that it has: no import ends in .ts, none leads nowhere", () => {
    const files = globSync("dist/**/*.{js,d.ts}", { cwd: installed });
    assert.ok(files.length > 100);
    for (const file of files) {
      for (const { kind, text } of tokensOf(readFileSync(join(installed, file), "utf8"))) {
        if (kind !== "string" || !/^\.\.?\/.*\.[jt]s$/.test(text)) continue;
        const target = join(installed, dirname(file), text);
        assert.ok(existsSync(target) || existsSync(target.replace(/\.ts$/, ".d.ts")), `${file} names ${text}`);
        assert.ok(file.endsWith(".d.ts") || !text.endsWith(".ts"), `${file} names ${text}`);
      }
    }
  });

  test("can be imported by every name that it exports, with only its own dependencies there", () => {
    const code = `
      const counts = {};
      for (const name of ${JSON.stringify(doors.map(nameOf))}) counts[name] = Object.keys(await import(name)).length;
      console.log(JSON.stringify(counts));`;
    const counts = JSON.parse(run(process.execPath, ["--input-type=module", "-e", code], consumer)) as Record<string, number>;
    assert.deepEqual(Object.keys(counts), doors.map(nameOf));
    for (const [name, count] of Object.entries(counts)) assert.ok(count > 0, name);
  });

  // Not millrace/testing: it loads node:test, which has no place in a service, and its suites are called by tests alone.
  test("gives the same things through the root door as through each other door", () => {
    const code = `
      const all = await import("millrace");
      const differing = [];
      for (const name of ${JSON.stringify(
        doors
          .slice(1)
          .map(nameOf)
          .filter((name) => name !== "millrace/testing"),
      )}) {
        for (const [key, value] of Object.entries(await import(name))) if (all[key] !== value) differing.push(name + " " + key);
      }
      console.log(JSON.stringify(differing));`;
    assert.deepEqual(JSON.parse(run(process.execPath, ["--input-type=module", "-e", code], consumer)), []);
  });

  test("cannot be imported by any other name", () => {
    const code = `
      const codes = [];
      for (const name of ["millrace/dist/core/index.js", "millrace/src/core/index.ts", "millrace/core/clock", "millrace/cli"])
        await import(name).catch((error) => codes.push(error.code));
      console.log(codes.join());`;
    const refused = Array.from({ length: 4 }, () => "ERR_PACKAGE_PATH_NOT_EXPORTED").join();
    assert.equal(run(process.execPath, ["--input-type=module", "-e", code], consumer).trim(), refused);
  });

  test("has types that a strict program can use, those of its dependencies included", () => {
    const program = `
${doors.map((subpath, i) => `import * as door${i} from ${JSON.stringify(nameOf(subpath))};`).join("\n")}
import { createDatabase, sql } from "millrace";
export const doors = [${doors.map((_, i) => `door${i}`).join(", ")}];
const database = await createDatabase();
const rows = await database.many<{ id: number }>(sql\`select 1 as id\`);
export const id: number | undefined = rows[0]?.id;
// @ts-expect-error -- a number is no statement: the types of pg are there
await database.pool.query(5);
// @ts-expect-error -- nor is a string
await database.many("select 1");
// @ts-expect-error -- an option that does not exist
await createDatabase({ uri: "" });
`;
    writeFileSync(join(consumer, "program.ts"), program);
    writeFileSync(
      join(consumer, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2024",
          lib: ["es2024", "esnext.disposable"],
          module: "nodenext",
          strict: true,
          noEmit: true,
          skipLibCheck: true,
          types: ["node"],
        },
        include: ["program.ts"],
      }),
    );
    run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.json"], consumer);
  });

  test("has a command that prints its help and its version", () => {
    for (const [name, path] of Object.entries(manifest.bin)) {
      const program = join(installed, path);
      assert.ok(readFileSync(program, "utf8").startsWith("#!/usr/bin/env node\n"), name);
      assert.equal(statSync(program).mode & 0o111, 0o111, `${name} may be executed`);
      assert.match(run(process.execPath, [program, "--help"], consumer), new RegExp(`Usage: ${name}\\b`));
      assert.equal(run(process.execPath, [program, "--version"], consumer).trim(), manifest.version);
    }
  });
});
