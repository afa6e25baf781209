// Writes the table of docs/errors.md from the error catalogs in src (npm run errors).

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorRows, withRows } from "../test/errors/error-page.ts";
import { root } from "./setup.mjs";

const path = join(root, "docs/errors.md");
writeFileSync(path, withRows(readFileSync(path, "utf8"), await errorRows()));
