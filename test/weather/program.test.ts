import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Database, createDatabase, describeEmbedded, sql, stopEmbedded } from "millrace";
import { debianPackage } from "../harness/debian.ts";
import { testDatabase } from "../harness/postgres.ts";
import { type Page, cityCount, newYork, seattle, until } from "./harness.ts";
import { startProgram } from "./program.ts";

const counts = sql<Record<string, number>>`
  select (select count(*)::int from cities) as cities, (select count(*)::int from observations) as days,
    (select count(*)::int from hourly_normals) as hours, (select count(*)::int from data_sets) as sets`;
const everything = { cities: cityCount, days: 2_922, hours: 8_759, sets: 3 };

/** A data directory that does not exist yet. At the end its server is stopped, should one have been left, and all is removed. */
async function newDataDir(): Promise<{ readonly path: string } & AsyncDisposable> {
  const parent = await mkdtemp(join(tmpdir(), "millrace-weather-"));
  await chmod(parent, 0o755); // run by root, PostgreSQL runs as another user
  const path = join(parent, "postgres");
  return {
    path,
    async [Symbol.asyncDispose]() {
      await stopEmbedded(path);
      await rm(parent, { recursive: true, force: true });
    },
  };
}

const serverRuns = async (dataDir: string): Promise<boolean> => (await describeEmbedded(dataDir, "millrace")).server !== undefined;

/** Resolves when a program is in the middle of loading the cities into the database of `dataDir`. */
async function untilLoading(database: Database): Promise<void> {
  await until("the cities are being loaded", () => isLoading(database), 60_000);
}

const isLoading = async (database: Database): Promise<boolean> =>
  (await database.maybeOne(
    sql`select from pg_stat_activity where application_name = 'weather' and query ~ 'insert into cities'`,
  )) !== undefined;

suite("the program", () => {
  let directory: Awaited<ReturnType<typeof newDataDir>>;
  let dataDir: string;
  before(async () => {
    directory = await newDataDir();
    dataDir = directory.path;
  });
  after(() => directory[Symbol.asyncDispose]());

  test("a signal during the first start ends it at once and leaves no server behind", async () => {
    await using program = startProgram({ DATA_DIR: dataDir });
    {
      await using watcher = await createDatabase({ embedded: { dataDir } });
      await untilLoading(watcher);
      program.child.kill("SIGTERM");
    }
    assert.deepEqual(await program.ended, { code: 143, signal: null });
    assert.equal(await serverRuns(dataDir), false);
  });

  test("a first start that is killed while it loads the cities leaves nothing half-done, and the next start completes", async () => {
    await using watcher = await createDatabase({ embedded: { dataDir } });
    {
      await using killed = startProgram({ DATA_DIR: dataDir });
      await untilLoading(watcher);
      killed.child.kill("SIGKILL");
      await killed.ended;
    }
    await until("its session is gone", async () => !(await isLoading(watcher)));
    assert.deepEqual(await watcher.one(counts), { cities: 0, days: 0, hours: 0, sets: 0 });

    await using program = startProgram({ DATA_DIR: dataDir });
    const weather = await program.up;
    assert.deepEqual(await watcher.one(counts), everything);
    assert.match(program.stderr, /Loaded 135,233 cities\.\nLoaded 2,922 observations\.\nLoaded 8,759 hourly normals\.\n/);
    assert.equal((await weather.get(`/cities/${seattle}`)).body["name"], "Seattle");
  });

  test("a later start loads nothing, says what it runs on, and what it suggests to try works", async () => {
    await using program = startProgram({ DATA_DIR: dataDir });
    const weather = await program.up;
    assert.doesNotMatch(program.stderr, /Loaded/);
    assert.match(program.stdout, /database {2}PostgreSQL 18\.\d+, embedded, data in /);
    assert.match(program.stdout, /weather {3}simulated at http:\/\/127\.0\.0\.1:\d+; WEATHER_URL=\S+ asks a real one/);
    const suggestions = [...program.stdout.matchAll(/curl '([^']+)'/g)].map((match) => match[1]!);
    assert.equal(suggestions.length, 3);
    for (const url of suggestions) {
      const { status, body } = await weather.get<Partial<Page> & { hours?: unknown[] }>(url.slice(weather.url.length));
      assert.equal(status, 200);
      assert.ok((body.data ?? body.hours!).length > 0, url);
    }
    const [, trouble, admin] = /-d '([^']+)' '(http[^']+)'/.exec(program.stdout)!;
    const headers = { "content-type": "application/json" };
    assert.equal((await fetch(admin!, { method: "PUT", headers, body: trouble! })).status, 200);
    assert.equal((await weather.get(`/cities/${newYork}/forecast`)).status, 503);
    assert.match((await weather.get(`/cities/${seattle}/forecast`)).headers.get("cache-status")!, /^forecasts; hit; ttl=\d+$/);
    assert.equal((await weather.get("/docs")).status, 200);

    program.child.kill("SIGINT");
    assert.deepEqual(await program.ended, { code: 0, signal: null });
  });

  test("the README's commands call every endpoint, and all of them succeed", async () => {
    await debianPackage("curl", "/usr/bin/curl");
    await using settings = await newDataDir();
    await mkdir(settings.path);
    // Read by every curl of the script: fail on a refusal.
    await writeFile(join(settings.path, ".curlrc"), "silent\nshow-error\nfail-with-body\n");
    await using program = startProgram({ DATA_DIR: dataDir });
    const { url } = await program.up;
    const script = fileURLToPath(new URL("../../examples/weather/try-it.sh", import.meta.url));
    const { stdout } = await promisify(execFile)("sh", ["-e", script, url], { env: { ...process.env, CURL_HOME: settings.path } });
    assert.match(stdout, /"name":"São Paulo"/);
    assert.match(stdout, /"tags":\["rain","wet"\],"commentCount":1/);

    const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, Record<string, unknown>> };
    const commands = await readFile(script, "utf8");
    for (const path of Object.keys(paths)) {
      const called = new RegExp(path.replaceAll(/\{\w+\}/g, String.raw`(\d+|\$\w+)`) + String.raw`["?]`);
      if (!/^\/(healthz|readyz|page\/.*)?$/.test(path)) assert.match(commands, called);
    }
    program.child.kill("SIGINT");
    assert.deepEqual(await program.ended, { code: 0, signal: null });
  });

  test("the README's outage: what is known is served with its age, what is not is a 503, and it ends", async () => {
    await debianPackage("curl", "/usr/bin/curl");
    await using program = startProgram({ DATA_DIR: dataDir, FORECAST_TTL: "2s" });
    const { url } = await program.up;
    const simulator = /simulated at (http:\S+);/.exec(program.stdout)![1]!;
    const script = fileURLToPath(new URL("../../examples/weather/outage.sh", import.meta.url));
    const { stdout } = await promisify(execFile)("sh", [script, url, simulator]);
    const said = stdout.replaceAll("\r", "").split(/(?=HTTP)/);
    assert.match(said[0]!, /^HTTP\/1.1 200 OK\ncache-status: forecasts; fwd=uri-miss; stored; ttl=\d/i);
    assert.match(said[1]!, /^HTTP\/1.1 200 OK\ncache-status: forecasts; hit; ttl=-\d+; detail=expired\nage: [3-9]/i);
    assert.match(said[2]!, /^HTTP\/1.1 503 Service Unavailable\n(?:cache-status: .*\n)?retry-after: \d+\n.*New York/is);
    // On a busy machine the old one may be quicker than the API once more.
    assert.match(said[3]!, /^HTTP\/1.1 200 OK\ncache-status: forecasts; (?:fwd=stale; stored|hit; ttl=\d|hit; .*expired)/i);
    await until("it is fetched anew", async () => {
      const { headers } = await fetch(`${url}/cities/5809844/forecast`);
      return /^forecasts; (?:fwd=stale; stored|hit; ttl=\d)/.test(headers.get("cache-status")!);
    });
    program.child.kill("SIGINT");
    assert.deepEqual(await program.ended, { code: 0, signal: null });
  });

  test("the last one out has stopped the server", async () => {
    assert.equal(await serverRuns(dataDir), false);
  });

  test("two programs share one directory: what one writes the other reads, and one's sudden end does not touch the other", async () => {
    await using first = startProgram({ DATA_DIR: dataDir });
    await using second = startProgram({ DATA_DIR: dataDir });
    const [one, two] = await Promise.all([first.up, second.up]);
    const { token } = await one.user("Ada");
    const { body: report } = await one.send("POST", "/reports", { cityId: seattle, text: "from one" }, token);
    assert.equal((await two.get(`/reports/${String(report["id"])}`)).body["text"], "from one");
    // Cursors too: the secret is in the database.
    const { body: page } = await one.get<Page>("/cities?limit=1");
    assert.equal((await two.get(`/cities?limit=1&cursor=${page.page.next}`)).status, 200);

    first.child.kill("SIGKILL");
    await first.ended;
    assert.equal((await two.send("POST", `/reports/${String(report["id"])}/comments`, { text: "from two" }, token)).status, 201);
    second.child.kill("SIGINT");
    assert.deepEqual(await second.ended, { code: 0, signal: null });
    assert.equal(await serverRuns(dataDir), false);
  });

  test("two programs that start at once on an empty directory load everything once", async () => {
    await using empty = await newDataDir();
    const both = [startProgram({ DATA_DIR: empty.path }), startProgram({ DATA_DIR: empty.path })] as const;
    await using _first = both[0];
    await using _second = both[1];
    await Promise.all(both.map(({ up }) => up));
    assert.equal(
      both.map(({ stderr }) => stderr.match(/Loaded 135,233 cities/g)?.length ?? 0).reduce((a, b) => a + b),
      1,
    );
    {
      await using database = await createDatabase({ embedded: { dataDir: empty.path } });
      assert.deepEqual(await database.one(counts), everything);
    }
    for (const { child, ended } of both) {
      child.kill("SIGINT");
      assert.deepEqual(await ended, { code: 0, signal: null });
    }
  });

  test("SIGTERM under load loses nothing: a balancer learns of it from /readyz, every request is answered, exports come to their end", async () => {
    const days = 200_000;
    await using program = startProgram({ DATA_DIR: dataDir });
    const weather = await program.up;
    await using database = await createDatabase({ embedded: { dataDir } });
    await database.query(sql`
      insert into observations select 1796236, '0001-01-01'::date + day, 0, 0, 0, 0, 'sun' from generate_series(1, ${days}::int) as day`);
    const { token } = await weather.user();

    const agent = new Agent({ keepAlive: true, maxSockets: 40 });
    const body = JSON.stringify({ cityId: seattle, text: "under load" });
    const start = async (method: string, path: string): Promise<IncomingMessage> => {
      const headers = method === "POST" ? { authorization: `Bearer ${token}`, "content-type": "application/json" } : {};
      const outgoing = request(weather.url + path, { method, agent, headers });
      outgoing.end(method === "POST" ? body : undefined);
      const [response] = (await once(outgoing, "response")) as [IncomingMessage];
      return response;
    };
    const statuses = new Map<number, number>();
    let answered = 0;
    let stop = false;
    const worker = async (number: number) => {
      for (let i = number; !stop; i++) {
        const response =
          i % 4 === 0
            ? await start("POST", "/reports")
            : await start("GET", i % 4 === 1 ? `/cities/${seattle}` : "/cities?limit=50");
        await text(response); // rejects when it is cut
        statuses.set(response.statusCode!, (statuses.get(response.statusCode!) ?? 0) + 1);
        answered++;
      }
    };
    const workers = Promise.all(Array.from({ length: 32 }, (_, number) => worker(number)));
    const exports = await Promise.all(Array.from({ length: 2 }, () => start("GET", "/observations/export?cityId=1796236")));
    await until("the load is on", () => answered > 500);

    program.child.kill("SIGTERM");
    await until("readiness fails", async () => (await weather.get("/readyz")).status === 503);
    const before = answered;
    await until("requests are answered all the same", () => answered > before + 200);
    stop = true;
    await workers;

    await until("nothing new is taken", () =>
      weather.get("/healthz").then(
        () => false,
        () => true,
      ),
    );
    for (const response of exports) {
      const lines = (await text(response)).trimEnd().split("\n");
      assert.deepEqual(JSON.parse(lines.at(-1)!), { end: true, rows: days });
    }
    assert.deepEqual(await program.ended, { code: 0, signal: null });
    agent.destroy();

    assert.deepEqual(new Set(statuses.keys()), new Set([200, 201]));
    const stored = await database.one(sql<{ count: number }>`select count(*)::int as count from reports where text = 'under load'`);
    assert.equal(stored.count, statuses.get(201));
  });

  test("with DATABASE_URL it runs on that server and makes no directory", async () => {
    await using unused = await newDataDir();
    await using database = await testDatabase();
    await using program = startProgram({ DATABASE_URL: database.url, DATA_DIR: unused.path });
    const weather = await program.up;
    assert.equal((await weather.get(`/cities/${seattle}`)).status, 200);
    assert.doesNotMatch(program.stdout, /embedded/);
    assert.equal(existsSync(unused.path), false);
    program.child.kill("SIGINT");
    assert.deepEqual(await program.ended, { code: 0, signal: null });
  });

  test("what is set wrongly is said in one sentence, and the program ends with 1", async () => {
    await using server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const wrong: [Record<string, string>, RegExp][] = [
      [{ PORT: "http" }, /^PORT is "http", expected a number from 0 to 65535\.\n$/],
      [{ PORT: "65536" }, /^PORT is "65536", expected/],
      [{ LOG_LEVEL: "loud" }, /^LOG_LEVEL is "loud", expected one of trace,/],
      [{ WEATHER_URL: "api.open-meteo.com" }, /^WEATHER_URL must begin with http:\/\/ or https:\/\//],
      [
        { WEATHER_URL: "https://user:secret@host", DATA_DIR: dataDir },
        /^createUpstream "open-meteo": option "url" is a value that is not shown, expected an http.*without a user/m,
      ],
      [{ FORECAST_TTL: "soon" }, /^FORECAST_TTL is "soon", expected a duration/],
      [{ SMTP_URL: "mail.example.org:25" }, /^SMTP_URL must begin with smtp:\/\//],
      [{ WORKERS: "off" }, /^WORKERS is "off", expected 1, or 0 /],
      [{ DATABASE_URL: "mysql://user:secret@host/db" }, /^DATABASE_URL must begin with postgresql:\/\//],
      [{ DATABASE_URL: "postgresql://user:secret@127.0.0.1:1/db" }, /^PostgreSQL at 127\.0\.0\.1:1.* cannot be reached/],
      [
        { PORT: String(port), DATA_DIR: dataDir },
        new RegExp(`PORT ${port} is in use by another program. Set PORT to a free one, or to 0 for any.\\n$`),
      ],
      [{ HOST: "203.0.113.1", DATA_DIR: dataDir }, /HOST "?203\.0\.113\.1"? is not an address of this machine\.\n$/],
    ];
    for (const [env, message] of wrong) {
      await using program = startProgram(env);
      assert.deepEqual(await program.ended, { code: 1, signal: null }, program.stderr);
      assert.match(program.stderr, message);
      assert.doesNotMatch(program.stderr + program.stdout, /secret/);
    }
  });
});
