#!/usr/bin/env node
// The executable `millrace`.

import { run } from "./main.ts";

process.exitCode = await run(process.argv.slice(2));
