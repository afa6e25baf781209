import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type QueryMessage, queryChannel, sql } from "millrace";
import { type Json, type Page, type Weather, seattle, startWeather } from "./harness.ts";

interface Comment {
  id: number;
  reportId: number;
  text: string;
  author: { id: number; name: string };
}

interface Report {
  id: number;
  cityId: number;
  text: string;
  temperature: number | null;
  createdAt: string;
  updatedAt: string;
  author: { id: number; name: string };
  tags: string[];
  commentCount: number;
  comments: Comment[];
}

/** Its capital letter in `code` would say which problem; the status is what clients look at first. */
const outcome = ({ status, body }: { status: number; body: Json }) => [status, body["code"]];

suite("users and reports", () => {
  let weather: Weather;
  before(async () => void (weather = await startWeather()));
  after(() => weather[Symbol.asyncDispose]());

  test("signing up, signing in and asking who one is", async () => {
    const up = await weather.send("POST", "/users", { email: "Grace@Example.org", password: "a good password", name: " Grace " });
    assert.equal(up.status, 201);
    assert.deepEqual(up.body, { id: up.body["id"], email: "grace@example.org", name: "Grace" });

    const session = await weather.send("POST", "/sessions", { email: "GRACE@example.org", password: "a good password" });
    assert.equal(session.status, 201);
    assert.equal(session.headers.get("cache-control"), "no-store");
    assert.ok(Date.parse(session.body["expiresAt"] as string) > Date.now() + 29 * 86_400_000);

    const me = await weather.get("/me", session.body["token"] as string);
    assert.deepEqual([me.status, me.body], [200, up.body]);
  });

  test("neither the password nor the token is in the database", async () => {
    const { token, email } = await weather.user();
    const { hash } = await weather.database.one(
      sql<{ hash: string }>`select password_hash as hash from users where email = ${email}`,
    );
    assert.match(hash, /^\$argon2id\$/);
    const { stored } = await weather.database.one(
      sql<{
        stored: string;
      }>`select string_agg(sessions::text || users::text, ' ') as stored from sessions join users on users.id = user_id`,
    );
    assert.ok(!stored.includes(token) && !stored.includes("correct horse"));
  });

  test("an address signs up once, whatever its case", async () => {
    const { email } = await weather.user();
    const again = await weather.send("POST", "/users", { email: email.toUpperCase(), password: "another password", name: "B" });
    assert.deepEqual(outcome(again), [409, "EMAIL_TAKEN"]);
  });

  test("of sign-ups at the same time for one address exactly one succeeds", async () => {
    const body = { email: "race@example.org", password: "a good password", name: "R" };
    const answers = await Promise.all(Array.from({ length: 6 }, () => weather.send("POST", "/users", body)));
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 409, 409, 409, 409, 409],
    );
  });

  test("a wrong password and an unknown address get the same answer", async () => {
    const { email } = await weather.user();
    const wrong = await weather.send("POST", "/sessions", { email, password: "wrong password" });
    const unknown = await weather.send("POST", "/sessions", { email: "nobody@example.org", password: "wrong password" });
    assert.deepEqual(outcome(wrong), [401, "CREDENTIALS_WRONG"]);
    assert.deepEqual({ ...wrong.body, requestId: "" }, { ...unknown.body, requestId: "" });
  });

  test("a session ends when its time is over, and the oldest when there are more than twenty", async () => {
    const { id, token, email } = await weather.user();
    for (let i = 0; i < 20; i++) await weather.send("POST", "/sessions", { email, password: "correct horse battery staple" });
    const { count } = await weather.database.one(
      sql<{ count: number }>`select count(*)::int as count from sessions where user_id = ${id}`,
    );
    assert.equal(count, 20);
    assert.equal((await weather.get("/me", token)).status, 401);

    const other = await weather.user();
    await weather.database.query(sql`update sessions set expires_at = now() where user_id = ${other.id}`);
    assert.equal((await weather.get("/me", other.token)).status, 401);
  });

  test("whoever is not signed in can only read", async () => {
    const requests: [string, string, unknown?][] = [
      ["GET", "/me"],
      ["POST", "/reports", { cityId: seattle, text: "x" }],
      ["PATCH", "/reports/1", { text: "x" }],
      ["DELETE", "/reports/1"],
      ["POST", "/reports/1/comments", { text: "x" }],
    ];
    for (const [method, path, body] of requests) {
      for (const token of [undefined, "wrong", "x".repeat(500)]) {
        const answer = await weather.send(method, path, body, token);
        assert.equal(answer.status, 401, `${method} ${path}`);
        assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer /);
      }
    }
  });

  test("a report is created with its tags, trimmed and each once, and can be fetched where Location says", async () => {
    const user = await weather.user("Ada");
    const created = await weather.send<Report>(
      "POST",
      "/reports",
      {
        cityId: seattle,
        text: "  Rain, \n of course. 🌧 ",
        temperature: -3.25,
        tags: ["wet ", " wet", "Æ", "'; drop table reports; --"],
      },
      user.token,
    );
    assert.equal(created.status, 201);
    const { id, createdAt, updatedAt, ...rest } = created.body;
    assert.deepEqual(rest, {
      cityId: seattle,
      text: "Rain, \n of course. 🌧",
      temperature: -3.25,
      author: { id: user.id, name: "Ada" },
      tags: ["wet", "Æ", "'; drop table reports; --"],
      commentCount: 0,
      comments: [],
    });
    assert.equal(createdAt, updatedAt);
    assert.equal(new Date(createdAt).toISOString(), createdAt);
    assert.equal(created.headers.get("location"), `/reports/${id}`);
    assert.deepEqual((await weather.get<Report>(`/reports/${id}`)).body, created.body);
  });

  test("temperature and tags may be left out", async () => {
    const { token } = await weather.user();
    const { status, body } = await weather.send<Report>("POST", "/reports", { cityId: seattle, text: "x" }, token);
    assert.deepEqual([status, body.temperature, body.tags], [201, null, []]);
  });

  test("a report on a city that does not exist is refused, naming the field", async () => {
    const { token } = await weather.user();
    const { status, body } = await weather.send("POST", "/reports", { cityId: 1, text: "x", tags: ["y"] }, token);
    assert.equal(status, 400);
    assert.deepEqual(body["errors"], [{ in: "body", field: "cityId", message: "no city has the id 1" }]);
  });

  test("only the author changes a report, and only what the change names", async () => {
    const [author, other] = [await weather.user(), await weather.user()];
    const { body: report } = await weather.send<Report>(
      "POST",
      "/reports",
      { cityId: seattle, text: "old", temperature: 5, tags: ["a", "b"] },
      author.token,
    );
    const path = `/reports/${report.id}`;

    const { status, body: changed } = await weather.send<Report>("PATCH", path, { text: "new" }, author.token);
    assert.equal(status, 200);
    assert.deepEqual({ ...changed, updatedAt: "" }, { ...report, text: "new", updatedAt: "" });
    assert.ok(changed.updatedAt > report.updatedAt);

    const { body: emptied } = await weather.send<Report>("PATCH", path, { temperature: null, tags: ["c"] }, author.token);
    assert.deepEqual([emptied.text, emptied.temperature, emptied.tags], ["new", null, ["c"]]);

    assert.deepEqual(outcome(await weather.send("PATCH", path, { text: "mine" }, other.token)), [403, "REPORT_NOT_YOURS"]);
    assert.deepEqual(outcome(await weather.send("DELETE", path, undefined, other.token)), [403, "REPORT_NOT_YOURS"]);
    assert.deepEqual(outcome(await weather.send("PATCH", "/reports/2147483647", { text: "x" }, author.token)), [
      404,
      "REPORT_NOT_FOUND",
    ]);
    assert.equal((await weather.send("PATCH", path, {}, author.token)).status, 400);
    assert.equal((await weather.get<Report>(path)).body.text, "new");
  });

  test("a deleted report is gone with its tags and comments", async () => {
    const { token } = await weather.user();
    const { body } = await weather.send<Report>("POST", "/reports", { cityId: seattle, text: "x", tags: ["t"] }, token);
    await weather.send("POST", `/reports/${body.id}/comments`, { text: "y" }, token);
    const deleted = await weather.send<string>("DELETE", `/reports/${body.id}`, undefined, token);
    assert.deepEqual([deleted.status, deleted.body], [204, ""]);
    for (const [method, path] of [
      ["GET", ""],
      ["DELETE", ""],
      ["GET", "/comments"],
    ] as const) {
      assert.deepEqual(outcome(await weather.send(method, `/reports/${body.id}${path}`, undefined, token)), [
        404,
        "REPORT_NOT_FOUND",
      ]);
    }
    const left = await weather.database.one(sql<{ rows: number }>`
      select (select count(*) from report_tags where report_id = ${body.id})::int + (select count(*) from comments where report_id = ${body.id})::int as rows`);
    assert.equal(left.rows, 0);
  });

  test("a list of reports brings authors, tags and first comments in at most four statements, however long it is", async () => {
    const city = 745044;
    const users = [await weather.user("One"), await weather.user("Two")] as const;
    for (let i = 0; i < 30; i++) {
      const { token } = users[i % 2]!;
      const { body } = await weather.send<Report>(
        "POST",
        "/reports",
        { cityId: city, text: `report ${i}`, tags: ["z", `t${i}`] },
        token,
      );
      for (let j = 0; j < i % 6; j++)
        await weather.send("POST", `/reports/${body.id}/comments`, { text: `comment ${j}` }, users[j % 2]!.token);
    }
    for (const limit of [1, 10, 30]) {
      const statements: QueryMessage[] = [];
      using _subscription = queryChannel.subscribe((message) => {
        if (!message.text.includes("pg_current_snapshot")) statements.push(message); // the cache's, one for all that misses at once
      });
      const { body } = await weather.get<Page<Report>>(`/cities/${city}/reports?limit=${limit}`);
      assert.ok(statements.length <= 4, `${statements.length} statements for ${limit} reports`);
      assert.equal(body.data.length, limit);
      for (const [place, report] of body.data.entries()) {
        const i = 29 - place;
        assert.equal(report.text, `report ${i}`);
        assert.equal(report.author.name, i % 2 === 0 ? "One" : "Two");
        assert.deepEqual(report.tags, ["z", `t${i}`]);
        assert.equal(report.commentCount, i % 6);
        assert.deepEqual(
          report.comments.map(({ text, author, reportId }) => [text, author.name, reportId]),
          [
            ["comment 0", "One", report.id],
            ["comment 1", "Two", report.id],
            ["comment 2", "One", report.id],
          ].slice(0, i % 6),
        );
      }
    }
  });

  test("reports of the same instant are paged without losing or repeating one", async () => {
    const city = 3435910;
    const user = await weather.user();
    await weather.database.query(sql`
      insert into reports (city_id, user_id, text, created_at)
      select ${city}, ${user.id}, 'x', '2026-01-01T00:00:00.000001Z'::timestamptz + (i / 7) * interval '1 microsecond' from generate_series(0, 49) as i`);
    const ids: number[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const { body }: { body: Page<Report> } = await weather.get<Page<Report>>(
        `/cities/${city}/reports?limit=3${cursor && `&cursor=${cursor}`}`,
      );
      ids.push(...body.data.map(({ id }) => id));
      cursor = body.page.next;
    }
    assert.equal(ids.length, 50);
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => b - a),
    );
  });

  test("comments follow each other and are paged", async () => {
    const user = await weather.user("Ada");
    const { body: report } = await weather.send<Report>("POST", "/reports", { cityId: seattle, text: "x" }, user.token);
    for (let i = 0; i < 5; i++) {
      const { status, body } = await weather.send<Comment>(
        "POST",
        `/reports/${report.id}/comments`,
        { text: `comment ${i}` },
        user.token,
      );
      assert.equal(status, 201);
      assert.deepEqual([body.reportId, body.text, body.author], [report.id, `comment ${i}`, { id: user.id, name: "Ada" }]);
    }
    const first = await weather.get<Page<Comment>>(`/reports/${report.id}/comments?limit=3`);
    const second = await weather.get<Page<Comment>>(`/reports/${report.id}/comments?limit=3&cursor=${first.body.page.next}`);
    assert.deepEqual(
      [...first.body.data, ...second.body.data].map(({ text }) => text),
      ["comment 0", "comment 1", "comment 2", "comment 3", "comment 4"],
    );
    assert.deepEqual(outcome(await weather.send("POST", "/reports/2147483647/comments", { text: "x" }, user.token)), [
      404,
      "REPORT_NOT_FOUND",
    ]);
  });
});
