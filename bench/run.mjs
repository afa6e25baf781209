// `npm run bench -- <scenario>`: see bench/findings.md for the method and what was found.

import { mkdir, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

/** Scenarios, in the order of `all`. Each file exports `run(options)`, which prints its tables and returns what goes to results/. */
const scenarios = {
  "by-id": "one row by its id per HTTP request, against what people assemble",
  "cached-hit": "a cached list of 20 KB, against nginx, node:http, Fastify with its plugins, and FastAPI with Redis",
  miss: "requests that no cache can answer, against plain Fastify",
  mixed: "nine hits and one miss in ten on the same connections, against Fastify with its plugins",
  keyset: "pages 1 to 100,000 of 2 million rows: db.page, OFFSET, and the OR expansion",
  export: "a million rows as NDJSON over HTTP, against COPY, cursors, and FastAPI with asyncpg",
  encode: "20 KB of JSON: serializers and compressors",
  groups: "what a group costs against p-limit and Promise.all, and what a million of them leave behind",
  upstream: "an upstream that fails, and a slow replica of three, against fetch, undici, cockatiel and opossum",
  workers: "how late the event loop is while a worker pool is saturated",
  "memory-hit": "a hit with five dependencies, against bentocache, cache-manager and lru-cache",
  eviction: "the memory tier: hit ratios against lru-cache, what a hit costs, mistaken invalidations",
  race: "an invalidation while a fill runs that has read the old row: who serves the old value, and for how long",
  freshness: "commit to every process's cache, what survives a write, mistaken invalidations, what the feeds cost writers",
  etl: "three million rows of CSV beside an API, against csv-parse and polars: time, loop lag, memory",
  connections: "10,000 idle connections and 1,000 busy ones with the fast lane, every answer looked at",
  fuzz: "ten million inputs: what the fast lane takes for a request, against node's parser",
  tasks: "background tasks: enqueue, no-op throughput, backlog, wake-up, against BullMQ, graphile-worker and pg-boss",
  "tasks-kills": "10,000 tasks while workers are killed and connections cut: every task's history judged",
  schedules: "seeded schedules of failures over three processes: every answer against the database's history",
};

const help = `Usage: npm run bench -- <scenario> [options]

Scenarios
${Object.entries(scenarios)
  .map(([name, summary]) => `  ${name.padEnd(10)} ${summary}`)
  .join("\n")}
  all        every one of them

Options
  --rounds <n>          rounds; in each, every candidate runs once, one after the other (default: the scenario's own)
  --seconds <n>         how long a candidate is loaded per round, where that applies (default 5)
  --rows <n>            rows of the table (default: the scenario's own)
  --only <a,b>          only these candidates
  --operations <n>      "schedules": answers in all (default 1,000,000); "fuzz": inputs (default 10,000,000); "connections": requests (default 100,000)
  --writes <n>          "schedules": writes among a thousand requests (default 10)
  --seed <n>            "schedules": another order of events, "fuzz": other inputs (default 1)
  --rule <name>         "schedules": a wrong rule, to see it caught: "start token", "log position", "visible in snapshot"
  --cpu-prof <dir>      also profile each Node server; the .cpuprofile files go to this directory
  --help

Needs two cores. HTTP scenarios load with wrk or curl; "export" compares with FastAPI when Debian's python3-fastapi,
python3-asyncpg and uvicorn are there (orjson if it can be imported, else python3-ujson, else the standard library's json).
Results are also written to bench/results/ as JSON.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    seconds: { type: "string", default: "5" },
    rows: { type: "string" },
    only: { type: "string" },
    operations: { type: "string" },
    writes: { type: "string" },
    seed: { type: "string" },
    rule: { type: "string" },
    "cpu-prof": { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const names = positionals[0] === "all" ? Object.keys(scenarios) : positionals;
const unknown = names.find((name) => !Object.hasOwn(scenarios, name));
if (values.help || names.length === 0 || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no scenario "${unknown}".\n`);
  console.log(help);
  process.exit(unknown === undefined ? 0 : 1);
}
if (Number(process.versions.node.split(".")[0]) < 24) {
  console.error(`The scenarios need Node 24 or newer; this is ${process.version}. Use npm run bench, which brings it.`);
  process.exit(1);
}

const wholeNumber = (option) => {
  const text = values[option];
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number <= 0) {
    console.error(`--${option} is "${text}", expected a whole number above 0.`);
    process.exit(1);
  }
  return number;
};
const options = {
  rounds: wholeNumber("rounds"),
  seconds: wholeNumber("seconds"),
  rows: wholeNumber("rows"),
  only: values.only?.split(","),
  operations: wholeNumber("operations"),
  writes: wholeNumber("writes"),
  seed: wholeNumber("seed"),
  rule: values.rule,
  profileDir: values["cpu-prof"],
};

const { machine } = await import("./harness/machine.ts");
console.log(machine());
for (const name of names) {
  console.log(`\n${name}: ${scenarios[name]}`);
  const { run } = await import(`./scenarios/${name}.ts`);
  const results = await run(options);
  const directory = new URL("results/", import.meta.url);
  await mkdir(directory, { recursive: true });
  const file = new URL(`${name}-${new Date().toISOString().replaceAll(":", "-")}.json`, directory);
  await writeFile(file, `${JSON.stringify({ scenario: name, machine: machine(), options, results }, null, 2)}\n`);
}
