import assert from "node:assert/strict";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import fc from "fast-check";
import { sql } from "millrace";
import { type Json, type Weather, seattle, startWeather } from "./harness.ts";

interface FieldError {
  in: string;
  field: string;
}

/** What people try. None of it is more than a text. */
const metacharacters = [
  "' or '1'='1",
  "'; drop table cities; --",
  '"; select pg_sleep(10); --',
  "$1",
  "$$x$$",
  "\\",
  "\\'",
  "%",
  "_",
  "/*",
  "--",
  "?",
  ":x",
  "{}",
  "\u202e",
  "𝒮",
  "‮'",
];

suite("input", () => {
  let weather: Weather;
  let token: string;
  let reportId: number;
  before(async () => {
    weather = await startWeather();
    ({ token } = await weather.user());
    reportId = (await weather.send("POST", "/reports", { cityId: seattle, text: "x" }, token)).body["id"] as number;
  });
  after(() => weather[Symbol.asyncDispose]());

  /** Sends exactly these bytes and reads the answer's status and body. */
  const raw = async (bytes: string | Buffer): Promise<{ status: number; body: Json }> => {
    const { hostname, port } = new URL(weather.url);
    const socket = connect(Number(port), hostname);
    socket.write(bytes);
    const answer = await text(socket);
    return {
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]),
      body: JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4)) as Json,
    };
  };
  const rawGet = (path: string | Buffer) =>
    raw(Buffer.concat([Buffer.from("GET "), Buffer.from(path), Buffer.from(" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")]));
  const rawPost = (path: string, body: string | Buffer, type = "application/json") =>
    raw(
      Buffer.concat([
        Buffer.from(
          `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${token}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`,
        ),
        Buffer.from(body),
      ]),
    );

  const refused: [path: string, field: string][] = [
    ["/cities?limit=0", "limit"],
    ["/cities?limit=101", "limit"],
    ["/cities?limit=-1", "limit"],
    ["/cities?limit=1.5", "limit"],
    ["/cities?limit=1e1", "limit"],
    ["/cities?limit=0x10", "limit"],
    ["/cities?limit=", "limit"],
    ["/cities?limit=99999999999999999999", "limit"],
    ["/cities?limit=5&limit=5", "limit"],
    ["/cities?limit[]=5", "limit[]"],
    ["/cities?q=", "q"],
    ["/cities?q=a&q=b", "q"],
    [`/cities?q=${"a".repeat(101)}`, "q"],
    ["/cities?q=%00", "q"],
    ["/cities?q=a%00b", "q"],
    ["/cities?q=%ED%A0%80", "q"],
    ["/cities?q=%FF", "q"],
    ["/cities?q=%C3%28", "q"],
    ["/cities?q=%", "q"],
    ["/cities?q=%4", "q"],
    ["/cities?country=", "country"],
    ["/cities?country=USA", "country"],
    ["/cities?country=%27%27", "country"],
    ["/cities?contry=US", "contry"],
    ["/cities?__proto__=1", "__proto__"],
    ["/cities?cursor=", "cursor"],
    ["/cities?cursor=AAAA", "cursor"],
    ["/cities?cursor=%27%3B--", "cursor"],
    [`/cities?cursor=${"A".repeat(5_000)}`, "cursor"],
    ["/cities/0", "cityId"],
    ["/cities/-1", "cityId"],
    ["/cities/1.5", "cityId"],
    ["/cities/x", "cityId"],
    ["/cities/2147483648", "cityId"],
    ["/cities/99999999999999999999999", "cityId"],
    ["/cities/1%00", "cityId"],
    ["/cities/1;drop", "cityId"],
    [`/cities/${seattle}/observations?from=2012-02-30`, "from"],
    [`/cities/${seattle}/observations?from=yesterday`, "from"],
    [`/cities/${seattle}/observations?to=2012-02-01T00:00`, "to"],
    [`/cities/${seattle}/reports?offset=5`, "offset"],
    ["/observations/export?format=xml", "format"],
    ["/observations/export?format=CSV", "format"],
    ["/observations/export?limit=5", "limit"],
  ];
  test("a query or path that is not as it must be is a 400 that names the field", async () => {
    for (const [path, field] of refused) {
      const { status, body } = await rawGet(path);
      assert.equal(status, 400, path);
      const errors = (body["errors"] ?? []) as FieldError[];
      assert.ok(
        errors.some((error) => error.field === field),
        `${path}: ${JSON.stringify(body)}`,
      );
    }
  });

  test("a misspelt parameter is answered with the one that was probably meant", async () => {
    const { body } = await rawGet("/cities?contry=US");
    assert.deepEqual((body["errors"] as Json[])[0]!["suggestion"], "country");
  });

  test("bytes that are no UTF-8 or no URL are a 400", async () => {
    for (const path of ["/cities/%FF", "/%00", "/cities/%", Buffer.from([...Buffer.from("/cities?q="), 0xff, 0xfe]), "/%c0%af"]) {
      const { status } = await rawGet(path);
      assert.ok(status === 400 || status === 404, `${String(path)}: ${status}`);
    }
  });

  test("a cursor is good for its own list only, and only as it was given", async () => {
    const { body } = await weather.get<{ page: { next: string } }>("/cities?limit=2");
    const { next } = body.page;
    assert.equal((await weather.get(`/cities?limit=2&cursor=${next}`)).status, 200);
    for (let i = 0; i < next.length; i += 3) {
      const changed = next.slice(0, i) + (next[i] === "A" ? "B" : "A") + next.slice(i + 1);
      const answer = await weather.get(`/cities?cursor=${changed}`);
      assert.equal(answer.status, 400, changed);
      assert.match(answer.body["code"] as string, /^MILLRACE_CURSOR_/);
    }
    const foreign = await weather.get(`/cities/${seattle}/observations?cursor=${next}`);
    assert.deepEqual([foreign.status, foreign.body["code"]], [400, "MILLRACE_CURSOR_FOREIGN"]);
  });

  const valid = { cityId: seattle, text: "x" };
  const refusedBodies: [path: string, body: unknown, field: string][] = [
    ["/reports", {}, "cityId"],
    ["/reports", { ...valid, cityId: String(seattle) }, "cityId"],
    ["/reports", { ...valid, cityId: 1.5 }, "cityId"],
    ["/reports", { ...valid, cityId: 1e300 }, "cityId"],
    ["/reports", { ...valid, cityId: -1 }, "cityId"],
    ["/reports", { ...valid, cityId: [seattle] }, "cityId"],
    ["/reports", { ...valid, cityId: null }, "cityId"],
    ["/reports", { ...valid, text: 5 }, "text"],
    ["/reports", { ...valid, text: "" }, "text"],
    ["/reports", { ...valid, text: " \n " }, "text"],
    ["/reports", { ...valid, text: ["x"] }, "text"],
    ["/reports", { ...valid, text: "a\u0000b" }, "text"],
    ["/reports", { ...valid, text: "\ud800" }, "text"],
    ["/reports", { ...valid, text: "x".repeat(5_001) }, "text"],
    ["/reports", { ...valid, temperature: "5" }, "temperature"],
    ["/reports", { ...valid, temperature: 71 }, "temperature"],
    ["/reports", { ...valid, tags: "wet" }, "tags"],
    ["/reports", { ...valid, tags: [""] }, "tags.0"],
    ["/reports", { ...valid, tags: ["a", 5] }, "tags.1"],
    ["/reports", { ...valid, tags: ["a\u0000"] }, "tags.0"],
    ["/reports", { ...valid, tags: Array.from({ length: 11 }, (_, i) => `t${i}`) }, "tags"],
    ["/reports", { ...valid, tag: ["a"] }, "tag"],
    ["/reports", { ...valid, userId: 1 }, "userId"],
    ["/users", { email: "not an address", password: "long enough", name: "x" }, "email"],
    ["/users", { email: "a@example.org", password: "short", name: "x" }, "password"],
    ["/users", { email: "a@example.org", password: "x".repeat(201), name: "x" }, "password"],
    ["/users", { email: "a@example.org", password: "long enough", name: "x", admin: true }, "admin"],
    ["/sessions", { email: "a@example.org", password: { $ne: null } }, "password"],
  ];
  test("a body that is not as it must be is a 400 that names the field", async () => {
    for (const [path, body, field] of refusedBodies) {
      const answer = await weather.send("POST", path, body, token);
      assert.equal(answer.status, 400, JSON.stringify(body));
      const errors = (answer.body["errors"] ?? []) as FieldError[];
      assert.ok(
        errors.some((error) => error.in === "body" && error.field === field),
        `${JSON.stringify(body).slice(0, 200)}: ${JSON.stringify(answer.body)}`,
      );
    }
  });

  test("what is no JSON, no UTF-8, too deep, too large or of another type is refused before anybody looks at it", async () => {
    for (const body of ["", "{", "{'a':1}", '{"cityId":1,}', "NaN", "undefined", '{"a":1}{"b":2}', "[".repeat(100_000), "\u0000"]) {
      assert.equal((await rawPost("/reports", body)).status, 400, body.slice(0, 20));
    }
    const deep = `{"cityId":${seattle},"text":"x","tags":${"[".repeat(50_000)}${"]".repeat(50_000)}}`;
    assert.equal((await rawPost("/reports", deep)).status, 400);
    assert.equal((await rawPost("/reports", Buffer.from(`{"cityId":${seattle},"text":"\xff"}`, "latin1"))).status, 400);
    for (const body of ["null", "5", '"x"', "[]", "true"]) assert.equal((await rawPost("/reports", body)).status, 400, body);
    assert.equal((await rawPost("/reports", `{"__proto__":{"admin":true},"cityId":${seattle},"text":"x"}`)).status, 400);
    assert.equal((await rawPost("/reports", "<x/>", "text/xml")).status, 415);
    assert.equal((await rawPost("/reports", "cityId=1", "application/x-www-form-urlencoded")).status, 415);
  });

  test("ten megabytes are a 413, with and without a length in advance", async () => {
    const large = JSON.stringify({ ...valid, text: "x".repeat(10 * 1024 * 1024) });
    const statusOf = async (body: string | ReadableStream) => {
      const request = {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body,
        duplex: "half" as const,
      };
      return (await fetch(`${weather.url}/reports`, request)).status;
    };
    assert.equal(await statusOf(large), 413);
    assert.equal(await statusOf(new Blob([large]).stream()), 413);
  });

  test("SQL metacharacters are texts like others, in every place that takes a text", async () => {
    const { count: before } = await weather.database.one(sql<{ count: number }>`select count(*)::int as count from cities`);
    for (const text of metacharacters) {
      const found = await weather.get<{ data: unknown[] }>(`/cities?q=${encodeURIComponent(text)}`);
      assert.equal(found.status, 200, text);
      const created = await weather.send("POST", "/reports", { ...valid, text, tags: [text] }, token);
      assert.deepEqual([created.status, created.body["text"], created.body["tags"]], [201, text, [text]]);
      const comment = await weather.send("POST", `/reports/${reportId}/comments`, { text }, token);
      assert.deepEqual([comment.status, comment.body["text"]], [201, text]);
      const user = await weather.send("POST", "/sessions", { email: "a@example.org", password: text.repeat(8).slice(0, 200) });
      assert.equal(user.status, 401);
    }
    const { count } = await weather.database.one(sql<{ count: number }>`select count(*)::int as count from cities`);
    assert.equal(count, before);
  });

  test("nothing that a client sends is a 500, and every refusal is a problem document", async () => {
    const hostile = fc.oneof(
      fc.string({ unit: "binary", maxLength: 30 }),
      fc.constantFrom(
        ...metacharacters,
        "\0",
        "\ud800",
        "NaN",
        "null",
        "1e400",
        "-0",
        "99999999999999999999",
        "0001-01-01",
        "9999-12-31",
        "0000-01-01",
      ),
      fc.integer().map(String),
      fc.double().map(String),
    );
    const value = fc.oneof(hostile, fc.jsonValue({ maxDepth: 3 }), fc.integer(), fc.double());
    const encoded = hostile.map((text) => encodeURIComponent(text.toWellFormed()));
    const segment = fc.oneof(encoded, fc.constantFrom(String(seattle), "1", "2147483647"));
    const path = fc.oneof(
      fc
        .tuple(
          fc.constantFrom("/cities/", "/reports/"),
          segment,
          fc.constantFrom("", "/observations", "/normals", "/reports", "/comments"),
        )
        .map((parts) => parts.join("")),
      fc.constantFrom("/cities", "/observations/export", "/users", "/sessions", "/me", "/reports"),
    );
    const parameter = fc.tuple(
      fc.oneof(fc.constantFrom("limit", "cursor", "q", "country", "from", "to", "format", "cityId"), encoded),
      encoded,
    );
    const query = fc
      .array(parameter, { maxLength: 3 })
      .map((pairs) => (pairs.length > 0 ? `?${pairs.map((pair) => pair.join("=")).join("&")}` : ""));
    const body = fc.oneof(
      fc.record(
        {
          cityId: fc.oneof(fc.constant(seattle), value),
          text: value,
          temperature: value,
          tags: fc.oneof(value, fc.array(value)),
          email: value,
          password: value,
          name: value,
        },
        { requiredKeys: [] },
      ),
      value,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("GET", "POST", "PATCH", "DELETE"),
        path,
        query,
        body,
        fc.boolean(),
        async (method, path, query, body, signedIn) => {
          const answer = await weather.send(
            method,
            path + query,
            method === "GET" ? undefined : body,
            signedIn ? token : undefined,
          );
          assert.ok(answer.status < 500, `${answer.status} ${JSON.stringify(answer.body)}`);
          if (answer.status >= 400) assert.equal((answer.body as Json)["status"], answer.status);
        },
      ),
      { numRuns: 400 },
    );
  });
});
