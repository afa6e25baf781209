// What the service does in the background: welcome mails, months, and forecasts that are kept fresh.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import {
  type App,
  type Database,
  type Tasks,
  createCache,
  createDatabase,
  createTasks,
  createUpstream,
  migrate,
  sql,
  taskEndChannel,
} from "millrace";
import { SMTPServer } from "smtp-server";
import { createWeather } from "../../examples/weather/src/app.ts";
import { createForecasts } from "../../examples/weather/src/forecasts/forecasts.ts";
import { countReads } from "../../examples/weather/src/forecasts/reads.ts";
import { refreshTask } from "../../examples/weather/src/forecasts/refresh.ts";
import { type Mailer, fileMailer, smtpMailer } from "../../examples/weather/src/mail/mailer.ts";
import { type WelcomeTask, welcomeTask } from "../../examples/weather/src/mail/welcome.ts";
import { rollUpMonths, rollUpSoon } from "../../examples/weather/src/observations/months.ts";
import { startSimulator } from "../../examples/weather/src/simulator/simulator.ts";
import { testDatabase } from "../harness/postgres.ts";
import { passTime } from "../tasks/pass-time.ts";
import { type Client, type Page, clientOf, migrationsDirectory, until } from "./harness.ts";

interface Post extends Client, AsyncDisposable {
  readonly database: Database;
  readonly tasks: Tasks;
}

/** The service with a mailer, and nothing else that it can have. Its workers run after `tasks.start()`. */
async function postOffice(mailer: Mailer): Promise<Post> {
  const scratch = await testDatabase();
  const database = await createDatabase({ url: scratch.url });
  await migrate(database, { directory: migrationsDirectory });
  const welcome: WelcomeTask = welcomeTask(mailer);
  const tasks = await createTasks({ database, tasks: [welcome], logger: { level: "silent" } });
  const app: App = createWeather({ database, welcome, logger: false });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return {
    ...clientOf(url),
    database,
    tasks,
    async [Symbol.asyncDispose]() {
      await app.close();
      await tasks.close();
      await database.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

const nextEnd = (outcome: string) =>
  taskEndChannel.next((message) => message.name === "send-welcome" && message.outcome === outcome, AbortSignal.timeout(20_000));

const ada = { email: "ada@example.org", password: "a good password", name: "Ada" };

/** An SMTP server that keeps what it takes. `refuse` makes it answer with this code. */
async function startMailServer(port = 0) {
  const mails: string[] = [];
  const state: { refuse: number | undefined } = { refuse: undefined };
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, _session, callback) {
      let text = "";
      stream.setEncoding("utf8");
      stream.on("data", (chunk: string) => (text += chunk));
      stream.on("end", () => {
        if (state.refuse !== undefined) {
          callback(Object.assign(new Error("No."), { responseCode: state.refuse }));
          return;
        }
        mails.push(text);
        callback();
      });
    },
  });
  server.on("error", () => {}); // connections that are cut
  const listening = server.listen(port, "127.0.0.1");
  await once(listening, "listening");
  return {
    mails,
    state,
    port: (listening.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

suite("a welcome mail", () => {
  test("is written into the directory of mails, once per user, and not for one who was there already", async () => {
    const directory = await mkdtemp(join(tmpdir(), "weather-mail-"));
    try {
      await using weather = await postOffice(fileMailer(directory));
      await weather.tasks.start();
      const sent = nextEnd("completed");
      assert.equal((await weather.send("POST", "/users", ada)).status, 201);
      await sent;
      assert.equal((await weather.send("POST", "/users", ada)).status, 409);
      const files = await readdir(directory);
      assert.equal(files.length, 1);
      const text = await readFile(join(directory, files[0]!), "utf8");
      assert.match(text, /^To: Ada <ada@example.org>$/m);
      assert.match(text, new RegExp(`^Message-ID: <${files[0]!.slice(0, -4)}@weather>$`, "m"));
      assert.equal((await weather.tasks.store.list({ limit: 10 })).length, 1);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test("reaches a mail server that was down for an hour, once", async () => {
    const { port, ...first } = await startMailServer();
    await first[Symbol.asyncDispose](); // down
    await using weather = await postOffice(smtpMailer(`smtp://127.0.0.1:${port}`));
    await weather.tasks.start();
    let retried = nextEnd("retried");
    assert.equal((await weather.send("POST", "/users", ada)).status, 201); // the user does not notice
    let passedMs = 0;
    let attempts = 0;
    while (passedMs < 3_600_000) {
      const { delayMs } = await retried;
      attempts++;
      retried = nextEnd("retried");
      // As if the time until the next attempt, and a little more, had passed: at least a minute, so that the hour comes to an end.
      const waitedMs = Math.max(60_000, delayMs! + 1_000);
      passedMs += waitedMs;
      await passTime(weather.database, waitedMs);
      const [{ id } = { id: "" }] = await weather.tasks.store.list({ limit: 1 });
      await weather.tasks.store.makeDue(id); // wakes the worker, which would look within the second
    }
    await using server = await startMailServer(port);
    retried.catch(() => {});
    const sent = nextEnd("completed");
    const [{ id } = { id: "" }] = await weather.tasks.store.list({ limit: 1 });
    await passTime(weather.database, 600_000);
    await weather.tasks.store.makeDue(id);
    const { attempt } = await sent;
    assert.ok(attempts > 5 && attempt > attempts, `${attempts} attempts failed, the one that did not was number ${attempt}`);
    assert.equal(server.mails.length, 1);
    assert.match(server.mails[0]!, /Welcome to the weather/);
  });

  test("that the server will never take is not sent again and again", async () => {
    await using server = await startMailServer();
    server.state.refuse = 550;
    await using weather = await postOffice(smtpMailer(`smtp://127.0.0.1:${server.port}`));
    await weather.tasks.start();
    const dead = nextEnd("dead");
    await weather.send("POST", "/users", ada);
    const { attempt, deadReason } = await dead;
    assert.deepEqual([attempt, deadReason], [1, "fatal"]);
    assert.equal(server.mails.length, 0);
  });

  test("that cannot be enqueued leaves no user behind, and the request says so", async () => {
    await using weather = await postOffice(fileMailer(tmpdir()));
    await weather.database.query(sql`alter table millrace.tasks rename to tasks_away`);
    const { status } = await weather.send("POST", "/users", ada);
    assert.ok(status >= 500, String(status));
    const { users } = await weather.database.one(sql<{ users: number }>`select count(*)::int as users from users`);
    assert.equal(users, 0);
    await weather.database.query(sql`alter table millrace.tasks_away rename to tasks`);
    assert.equal((await weather.send("POST", "/users", ada)).status, 201);
  });
});

/** Two cities and three days. */
async function littleWeather(): Promise<AsyncDisposable & { readonly database: Database }> {
  const scratch = await testDatabase();
  const database = await createDatabase({ url: scratch.url });
  await migrate(database, { directory: migrationsDirectory });
  await database.query(sql`
    insert into cities (id, name, country, admin_code, feature_code, population, latitude, longitude, search_name) values
      (1, 'Here', 'CH', '', 'PPL', 10, 47, 8, 'here'), (2, 'There', 'CH', '', 'PPL', 5, 46, 7, 'there')`);
  await database.query(sql`
    insert into observations values (1, '2026-01-01', 1.5, 5, -2, 3, 'rain'), (1, '2026-01-31', 0.2, 9, 1, 4, 'sun'),
      (1, '2026-02-01', 0, 7, 0, 2, 'sun')`);
  return {
    database,
    async [Symbol.asyncDispose]() {
      await database.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

test("months are rolled up from their days, and only what has changed is written", async () => {
  await using here = await littleWeather();
  const { database } = here;
  await using tasks = await createTasks({ database, tasks: [rollUpMonths], logger: { level: "silent" } });
  await using app = createWeather({ database, logger: false, checkResponses: true });
  const weather = clientOf(await app.listen({ host: "127.0.0.1", port: 0 }));
  assert.deepEqual((await weather.get<Page>("/cities/1/months")).body.data, []);
  await tasks.start();
  const rolled = async (months: "all" | "changed" = "all") =>
    await tasks.result(await rollUpMonths.enqueue({ months }, { in: database }), { timeout: "20s" });
  assert.deepEqual(await rolled(), { months: 2 });
  assert.deepEqual((await weather.get<Page>("/cities/1/months")).body.data, [
    { month: "2026-02-01", days: 1, precipitationMm: 0, tempMaxC: 7, tempMinC: 0, windMps: 2 },
    { month: "2026-01-01", days: 2, precipitationMm: 1.7, tempMaxC: 9, tempMinC: -2, windMps: 3.5 },
  ]);
  assert.deepEqual(await rolled(), { months: 0 });
  await database.query(sql`update observations set temp_max_c = 8 where date = '2026-02-01'`);
  assert.deepEqual(await rolled(), { months: 1 });
  assert.equal((await weather.get("/cities/9/months")).status, 404);
});

test("who changes days has their months rolled up: several share one task, and one that runs waits for who is at it", async () => {
  await using here = await littleWeather();
  const { database } = here;
  await using tasks = await createTasks({ database, tasks: [rollUpMonths], logger: { level: "silent" } });
  /** Changes a day in a transaction of its own, with `then` before its end. */
  const change = (date: string, tempMaxC: number, then = async () => {}) =>
    database.transaction(async (tx) => {
      const day = sql`(select city_id, date from observations where city_id = 1 and date = ${date}::date) as days`;
      await tx.query(sql`update observations set temp_max_c = ${tempMaxC} where city_id = 1 and date = ${date}::date`);
      await rollUpSoon(tx, day);
      await then();
    });
  const queued = () => tasks.store.list({ name: "roll-up-months", limit: 10 });
  await assert.rejects(
    change("2026-01-01", 50, () => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.equal((await queued()).length, 0);
  await change("2026-01-01", 20);
  await change("2026-02-01", 21);
  const [waiting, ...others] = await queued();
  assert.deepEqual(others, []);

  await change("2026-02-01", 30, async () => {
    await database.outsideTransaction(() => tasks.start());
    const locks = sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await until(
      "the roll-up waits for this",
      async () => (await database.outsideTransaction(() => database.many(locks))).length > 0,
    );
  });
  assert.deepEqual(await tasks.result(waiting!.id, { timeout: "20s" }), { months: 2 });
  const { rows } = await database.query(sql`select month::text, temp_max_c from monthly_weather order by month`);
  assert.deepEqual(rows, [
    { month: "2026-01-01", temp_max_c: 20 },
    { month: "2026-02-01", temp_max_c: 30 },
  ]);
  assert.equal((await queued()).length, 1, "it was enqueued before that one began");
  await change("2026-01-01", 25);
  const [next] = await queued();
  assert.deepEqual(await tasks.result(next!.id, { timeout: "20s" }), { months: 1 });
});

test("the forecasts of cities that are read most are fetched before anybody asks again", async () => {
  await using here = await littleWeather();
  const { database } = here;
  await using simulator = await startSimulator();
  await using upstream = createUpstream("open-meteo", { url: simulator.url, allowPrivate: ["127.0.0.1"] });
  await using cache = createCache({ name: "forecasts" });
  const forecasts = createForecasts({ upstream, cache, source: "simulator" });
  const refresh = refreshTask(forecasts);
  await using reads = countReads(database);
  for (let n = 0; n < 3; n++) reads.count(2);
  await reads.flush();
  await using tasks = await createTasks({ database, tasks: [refresh], logger: { level: "silent" } });
  await tasks.start();
  assert.deepEqual(await tasks.result(await refresh.enqueue(undefined, { in: database }), { timeout: "20s" }), {
    cities: 1,
    failed: 0,
  });
  const outcome = await forecasts.read({ latitude: 46, longitude: 7 }, { signal: AbortSignal.timeout(10_000) });
  assert.equal(outcome.state, "hit");
});
