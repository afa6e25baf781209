// The rules of docs/architecture.md as a function from a source tree to what breaks them.

import { existsSync, globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, posix, sep } from "node:path";
import { type Import, type SourceFacts, factsOf } from "./imports.ts";

/** Where each folder of src/ stands. A folder imports only from lower floors. */
export const floors: Readonly<Record<string, number>> = {
  core: 0,
  concurrency: 1,
  database: 2,
  "http-caching": 2,
  redis: 2,
  upstream: 2,
  cache: 3,
  etl: 3,
  tasks: 3,
  limits: 3,
  overload: 3,
  freshness: 4,
  cdn: 4,
  http: 5,
  proxy: 5,
  cluster: 6,
  observe: 6,
  profile: 7,
  load: 7,
  doctor: 8,
  gate: 8,
  dashboard: 8,
  testing: 9,
  cli: 9,
};

/** What a folder may import beside lower floors and node:*; absent: whatever package.json declares. */
const packagesOf: Readonly<Record<string, readonly string[]>> = {
  core: [],
  concurrency: ["lru-cache", "piscina"],
  "http-caching": [],
};

/** Packages that only these files may import: whoever needs one goes through them. */
const filesOf: Readonly<Record<string, readonly string[]>> = {
  "lru-cache": ["src/concurrency/lru-map.ts"],
  piscina: ["src/concurrency/worker-threads.ts", "src/concurrency/worker-runner.ts"],
};

/** Files whose purpose is to load what others name. */
const mayComputeImports = new Set(["src/concurrency/worker-runner.ts", "src/etl/child/module-transform.ts", "src/cli/worker.ts"]);

/** Folders without a door: programs, which nothing imports. */
const programs = new Set(["cli"]);

/** Files that may read the environment: programs, and the composition roots of an example and of its workers. */
const mayReadEnvironment = /^src\/cli\/|^examples\/[^/]+\/src\/(?:config|main|tasks)\.ts$/;

export type Rule =
  | "unplaced folder"
  | "floor"
  | "door"
  | "missing door"
  | "door does work"
  | "package"
  | "outside"
  | "test import"
  | "itself"
  | "unresolved"
  | "computed import"
  | "example"
  | "environment"
  | "cycle";

export interface Violation {
  readonly rule: Rule;
  /** Path from the root, with forward slashes, and the line where there is one. */
  readonly where: string;
  readonly what: string;
}

const isTest = (file: string) => /\.test\.ts$|(?:^|\/)fixtures\//.test(file);

const nodeModules = new Set(builtinModules);

const packageName = (specifier: string) => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");

interface Manifest {
  readonly name?: string;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
  readonly peerDependencies?: object;
}

function manifestOf(directory: string): Manifest {
  const path = join(directory, "package.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Manifest) : {};
}

const declaredBy = (manifest: Manifest) =>
  new Set(
    [manifest.dependencies, manifest.optionalDependencies, manifest.peerDependencies].flatMap((list) => Object.keys(list ?? {})),
  );

/** A tree that has been read: every TypeScript file of src/ and examples/ with its facts. */
export interface SourceTree {
  readonly root: string;
  readonly files: ReadonlyMap<string, SourceFacts>;
}

export function readTree(root: string): SourceTree {
  const paths = globSync(["src/**/*.{ts,mts,cts}", "examples/**/*.{ts,mts,cts}"], {
    cwd: root,
    exclude: (path) => path.includes("node_modules"),
  })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => !path.endsWith(".d.ts") && !path.includes("node_modules/"))
    .toSorted();
  return { root, files: new Map(paths.map((path) => [path, factsOf(readFileSync(join(root, path), "utf8"))])) };
}

/** Everything in the tree at `root` that breaks a rule. */
export function violationsOf(root: string): Violation[] {
  const tree = readTree(root);
  return [...folderViolations(tree), ...importViolations(tree), ...environmentViolations(tree), ...cycleViolations(tree)];
}

const folderOf = (file: string) => {
  const [top, folder, ...rest] = file.split("/");
  return top === "src" && rest.length > 0 ? folder! : undefined;
};

function folderViolations({ files }: SourceTree): Violation[] {
  const violations: Violation[] = [];
  const folders = new Set([...files.keys()].flatMap((file) => folderOf(file) ?? []));
  for (const folder of folders) {
    if (!Object.hasOwn(floors, folder)) {
      violations.push({ rule: "unplaced folder", where: `src/${folder}`, what: "has no floor in test/architecture/rules.ts" });
    }
    if (programs.has(folder)) continue;
    const door = files.get(`src/${folder}/index.ts`);
    if (!door) violations.push({ rule: "missing door", where: `src/${folder}`, what: "has no index.ts" });
    else if (!door.onlyReExports) {
      violations.push({ rule: "door does work", where: `src/${folder}/index.ts`, what: "contains something else than re-exports" });
    }
  }
  const root = files.get("src/index.ts");
  if (root && !root.onlyReExports) {
    violations.push({ rule: "door does work", where: "src/index.ts", what: "contains something else than re-exports" });
  }
  for (const file of files.keys()) {
    if (/^src\/[^/]+$/.test(file) && file !== "src/index.ts") {
      violations.push({ rule: "unplaced folder", where: file, what: "stands in no folder; only index.ts does" });
    }
  }
  return violations;
}

const resolveFrom = (file: string, specifier: string) => posix.normalize(posix.join(dirname(file), specifier));

function importViolations(tree: SourceTree): Violation[] {
  const { root, files } = tree;
  const kit = manifestOf(root);
  const kitPackages = declaredBy(kit);
  const kitDoors = new Set(Object.keys(kit.exports ?? {}).map((subpath) => posix.join(kit.name ?? "millrace", subpath)));
  const violations: Violation[] = [];

  for (const [file, { imports }] of files) {
    for (const one of imports) {
      const report = (rule: Rule, what: string) => violations.push({ rule, where: `${file}:${one.line}`, what });
      if (one.specifier === undefined && mayComputeImports.has(file)) continue;
      if (one.specifier === undefined) report("computed import", "what it loads cannot be known before it runs");
      else if (file.startsWith("examples/")) exampleImport(tree, file, one, kitDoors, report);
      else kitImport(tree, file, one.specifier, kit.name ?? "millrace", kitPackages, report);
    }
  }
  return violations;
}

type Report = (rule: Rule, what: string) => void;

function kitImport(
  { root, files }: SourceTree,
  file: string,
  specifier: string,
  name: string,
  declared: ReadonlySet<string>,
  report: Report,
): void {
  const folder = folderOf(file);
  if (!specifier.startsWith(".")) {
    if (specifier.startsWith("node:")) return;
    if (nodeModules.has(specifier)) return report("package", `"${specifier}" is written node:${specifier}`);
    const wanted = packageName(specifier);
    if (wanted === name) return report("itself", `imports ${specifier}, itself, by its public name`);
    if (isTest(file)) return;
    const allowed = folder === undefined ? [] : packagesOf[folder];
    if (allowed && !allowed.includes(wanted)) return report("package", `${folder ?? "the root door"} may not import ${specifier}`);
    const files = filesOf[wanted];
    if (files && !files.includes(file)) return report("package", `only ${files.join(" and ")} may import ${specifier}`);
    if (!declared.has(wanted)) report("package", `${wanted} is no dependency in package.json`);
    return;
  }
  const target = resolveFrom(file, specifier);
  if (!target.startsWith("src/")) {
    if (target !== "package.json" && !(isTest(file) && target.startsWith("test/harness/")))
      report("outside", `imports ${target}, outside of src`);
    return;
  }
  if (!files.has(target) && !existsSync(join(root, target))) return report("unresolved", `${specifier} does not exist`);
  if (isTest(target) && !isTest(file)) report("test import", `imports a test, ${target}`);
  if (target === "src/index.ts") return report("floor", "imports the root door, which stands above everything");
  const targetFolder = folderOf(target)!;
  if (targetFolder === folder) return;
  if (target !== `src/${targetFolder}/index.ts`) report("door", `imports ${target} instead of ${targetFolder}/index.ts`);
  if (folder === undefined) return; // The root door stands above all.
  const [from, to] = [floors[folder], floors[targetFolder]];
  if (from !== undefined && to !== undefined && to >= from) {
    report("floor", `${folder} (floor ${from}) imports ${targetFolder} (floor ${to})`);
  }
}

function exampleImport(
  { root }: SourceTree,
  file: string,
  { specifier }: Import,
  doors: ReadonlySet<string>,
  report: Report,
): void {
  const example = file.split("/").slice(0, 2).join("/");
  if (specifier!.startsWith(".")) {
    const target = resolveFrom(file, specifier!);
    const harness = isTest(file) || file.startsWith(`${example}/test/`) ? target.startsWith("test/harness/") : false;
    if (!target.startsWith(`${example}/`) && !harness) report("example", `imports ${target}, outside of the example`);
    else if (isTest(target) && !isTest(file)) report("test import", `imports a test, ${target}`);
    return;
  }
  if (specifier!.startsWith("node:")) return;
  if (doors.has(specifier!)) return;
  const name = packageName(specifier!);
  if (name === "millrace") return report("example", `imports ${specifier}, which package.json does not export`);
  if (!isTest(file) && !file.startsWith(`${example}/test/`) && !declaredBy(manifestOf(join(root, example))).has(name)) {
    report("package", `${name} is no dependency in ${example}/package.json`);
  }
}

function environmentViolations({ files }: SourceTree): Violation[] {
  return [...files].flatMap(([file, { environmentLines }]) =>
    isTest(file) || mayReadEnvironment.test(file) || /^examples\/[^/]+\/test\//.test(file)
      ? []
      : environmentLines.map((line): Violation => ({
          rule: "environment",
          where: `${file}:${line}`,
          what: "reads the environment",
        })),
  );
}

/**
 * Cycles between files at run time, one violation per knot: none of them could be loaded first. Types are left out, for a contract
 * and what implements it name each other's.
 */
function cycleViolations({ files }: SourceTree): Violation[] {
  const targets = new Map(
    [...files].map(([file, { imports }]) => [
      file,
      imports.flatMap(({ specifier, typeOnly }) => {
        const target = !typeOnly && specifier?.startsWith(".") && resolveFrom(file, specifier);
        return target && files.has(target) ? [target] : [];
      }),
    ]),
  );
  // Tarjan's strongly connected components.
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const knots: string[][] = [];
  const visit = (file: string): void => {
    order.set(file, order.size);
    low.set(file, order.get(file)!);
    stack.push(file);
    for (const target of targets.get(file)!) {
      if (!order.has(target)) {
        visit(target);
        low.set(file, Math.min(low.get(file)!, low.get(target)!));
      } else if (stack.includes(target)) {
        low.set(file, Math.min(low.get(file)!, order.get(target)!));
      }
    }
    if (low.get(file) !== order.get(file)) return;
    const knot = stack.splice(stack.indexOf(file));
    if (knot.length > 1 || targets.get(file)!.includes(file)) knots.push(knot.toSorted());
  };
  for (const file of files.keys()) if (!order.has(file)) visit(file);
  return knots.map((knot) => ({ rule: "cycle", where: knot[0]!, what: `import each other: ${knot.join(", ")}` }));
}

/** For messages: one line per violation. */
export const describe = (violations: readonly Violation[]): string =>
  violations.map(({ rule, where, what }) => `${where}: ${what} [${rule}]`).join("\n");
