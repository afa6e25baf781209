import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { Type } from "typebox";
import { createApp, endpoint, optionalBearer } from "../../src/http/index.ts";
import { debianPackage } from "../harness/debian.ts";
import { send } from "./client.ts";

const auth = optionalBearer({ identify: (token) => (token === "good" ? { name: "Ada" } : null), principalId: ({ name }) => name });
const endpoints = [
  endpoint(
    "GET /hello/:name",
    {
      params: { name: Type.String() },
      query: { loud: Type.Optional(Type.Boolean()) },
      auth,
      tags: ["greetings"],
      summary: "Says <b>hello</b>",
    },
    ({ params, query, principal }) => ({
      hello: query.loud ? params.name.toUpperCase() : params.name,
      by: principal?.name ?? null,
    }),
  ),
  endpoint("POST /sums", { body: Type.Object({ numbers: Type.Array(Type.Integer()) }), tags: ["sums"] }, ({ body }) => ({
    sum: body.numbers.reduce((a, b) => a + b, 0),
  })),
];

test("the page lists the endpoints and tries them in a real browser, under its strict policy", async () => {
  const executablePath = await debianPackage("chromium", "/usr/bin/chromium");
  await using app = createApp({ endpoints, logger: false, title: "Greetings" });
  const url = await app.listen({ port: 0 });
  const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
  try {
    const tab = await browser.newPage();
    const complaints: string[] = [];
    tab.on("console", (message) => void (message.type() === "error" && complaints.push(message.text())));
    tab.on("pageerror", (error) => void complaints.push(String(error)));
    await tab.goto(`${url}/docs`);
    await tab.waitForSelector("main[data-ready]");
    assert.equal(await tab.title(), "Greetings");
    assert.deepEqual(await tab.locator("h2").allTextContents(), ["greetings", "sums"]);
    assert.match(await tab.locator("#getHelloByName summary").innerText(), /Says <b>hello<\/b>/);

    await tab.locator("#getHelloByName summary").click();
    await tab.getByLabel("name", { exact: true }).fill("grace");
    await tab.getByLabel("loud").fill("true");
    await tab.locator("#getHelloByName").getByLabel("token").fill("good");
    assert.match(await tab.locator("#getHelloByName pre").first().innerText(), /curl '.*\/hello\/grace\?loud=true'/);
    await tab.locator("#getHelloByName button").click();
    const answer = tab.locator("#getHelloByName pre[data-answer]");
    await answer.filter({ hasText: "GRACE" }).waitFor();
    assert.deepEqual(JSON.parse(await answer.innerText()), { hello: "GRACE", by: "Ada" });

    await tab.locator("#postSums summary").click();
    await tab.locator("#postSums textarea").fill('{"numbers":[1,2,39]}');
    await tab.locator("#postSums button").click();
    await tab.locator("#postSums pre[data-answer]").filter({ hasText: "42" }).waitFor();

    await tab.getByLabel("Find an endpoint").fill("sums");
    assert.equal(await tab.locator("#getHelloByName").isVisible(), false);
    assert.equal(await tab.locator("#postSums").isVisible(), true);
    assert.deepEqual(complaints, []);

    await tab.goto(`${url}/docs/problems#MILLRACE_HTTP_BODY_TOO_LARGE`);
    assert.equal(await tab.locator("#MILLRACE_HTTP_BODY_TOO_LARGE").isVisible(), true);
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
});

test("the page's markup and policy belong together", async () => {
  await using app = createApp({ endpoints, logger: false, title: '</title><script>alert("x")</script>' });
  const answer = await send(`${await app.listen({ port: 0 })}/docs`, { headers: { "accept-encoding": "identity" } });
  assert.doesNotMatch(answer.text, /<script>alert/);
  assert.match(String(answer.headers["content-security-policy"]), /script-src 'sha256-[^']+'; connect-src 'self'/);
});
