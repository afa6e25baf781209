// What a real browser asks for when somebody comes back: whether the page is still the same, whether the API's answers are, and nothing else.
// When something has changed, it shows.

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { requestChannel } from "millrace";
import { type Browser, type BrowserContext, type Page as Tab, chromium } from "playwright-core";
import { debianPackage } from "../harness/debian.ts";
import { type Weather, seattle, startWeather, until } from "./harness.ts";

const pageDirectory = new URL("../../examples/weather/page/", import.meta.url);

/** Patience of the browser's waits, in milliseconds. */
const patienceMs = 30_000;

/** What the browser itself says of one visit. */
interface Visit {
  readonly tab: Tab;
  /** Paths and what came for them over the network. */
  readonly answers: ReadonlyMap<string, number>;
  /** Paths of answers with an ETag. */
  readonly tagged: ReadonlySet<string>;
  /** Paths of what the browser had. */
  readonly kept: ReadonlySet<string>;
  /** What the server has answered meanwhile, by route: "304 /". */
  readonly served: readonly string[];
}

suite("a second visit", { timeout: 170_000 }, () => {
  const disposables = new AsyncDisposableStack();
  let directory: string;
  let weather: Weather;
  let browser: Browser;
  before(async () => {
    const executablePath = await debianPackage("chromium", "/usr/bin/chromium");
    directory = await mkdtemp(join(tmpdir(), "page-"));
    disposables.defer(() => rm(directory, { recursive: true }));
    await cp(pageDirectory, directory, { recursive: true });
    weather = disposables.use(await startWeather({ page: directory }));
    browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
    disposables.defer(() => browser.close());
  });
  after(() => disposables.disposeAsync());

  /** Comes to the page and stays until it is shown and everything that it has asked for has come. */
  async function visit(context: BrowserContext): Promise<Visit> {
    context.setDefaultTimeout(patienceMs);
    const tab = await context.newPage();
    const session = await context.newCDPSession(tab);
    const paths = new Map<string, string>();
    const pending = new Set<string>();
    const statuses = new Map<string, number>();
    /** Answers of which Network.responseReceivedExtraInfo has to come, before or after everything else about them. */
    const toBeTold = new Set<string>();
    const kept = new Set<string>();
    const tagged = new Set<string>();
    const served: string[] = [];
    using _listening = requestChannel.subscribe(({ status, route }) => void served.push(`${status} ${route}`));
    session.on("Network.requestWillBeSent", ({ requestId, request }) => {
      paths.set(requestId, new URL(request.url).pathname);
      pending.add(requestId);
    });
    session.on("Network.requestServedFromCache", ({ requestId }) => void kept.add(paths.get(requestId)!));
    session.on("Network.responseReceived", ({ requestId, response, hasExtraInfo }) => {
      if (hasExtraInfo) toBeTold.add(requestId);
      if (Object.keys(response.headers).some((name) => name.toLowerCase() === "etag")) tagged.add(paths.get(requestId)!);
      if (response.fromDiskCache) kept.add(paths.get(requestId)!);
    });
    // Only this one tells a 304 that the browser has made a 200 of.
    session.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => {
      statuses.set(requestId, statusCode);
    });
    session.on("Network.loadingFinished", ({ requestId }) => void pending.delete(requestId));
    session.on("Network.loadingFailed", ({ requestId }) => void pending.delete(requestId));
    await session.send("Network.enable");
    await tab.goto(`${weather.url}/#${seattle}`);
    await tab.waitForSelector("body[data-shown]");
    await tab.waitForSelector("#elsewhere > li");
    const isTold = () => [...toBeTold].every((requestId) => statuses.has(requestId));
    await until("everything has come", () => pending.size === 0 && isTold(), patienceMs);
    const answers = new Map([...statuses].map(([requestId, status]) => [paths.get(requestId)!, status]));
    return { tab, answers, tagged, kept, served };
  }

  const assetsOf = (paths: Iterable<string>) => [...paths].filter((path) => path.startsWith("/page/"));
  const reportsPath = `/cities/${seattle}/reports`;

  test("the page is the same (304), what it is made of is not asked for, and the API's answers are the same", async () => {
    await using context = await browser.newContext();
    const first = await visit(context);
    assert.equal(first.answers.get("/"), 200);
    const assets = assetsOf(first.answers.keys());
    assert.ok(assets.length >= 11, assets.join(" "));
    for (const path of assets) assert.match(path, /^\/page\/[a-z]+\.[\w-]{22}\.(?:js|css|svg)$/);
    await first.tab.close();

    const second = await visit(context);
    assert.equal(second.answers.get("/"), 304);
    assert.ok(second.served.includes("304 /"), second.served.join(", "));
    assert.deepEqual(assetsOf(second.answers.keys()), []);
    assert.deepEqual(
      second.served.filter((line) => line.includes("/page/")),
      [],
    );
    const modules = assets.filter((path) => path.endsWith(".js"));
    assert.deepEqual(
      modules.filter((path) => !second.kept.has(path)),
      [],
    );
    // What has a tag says no-cache; only forecasts have none.
    assert.deepEqual([second.answers.get(reportsPath), second.answers.get(`/cities/${seattle}`)], [304, 304]);
    for (const [path, status] of second.answers) assert.ok(status === 304 || !second.tagged.has(path), `${status} ${path}`);
    await second.tab.close();
  });

  test("a report that somebody has posted shows, and so does a changed file, of which alone the new one is fetched", async () => {
    await using context = await browser.newContext();
    const first = await visit(context);
    await first.tab.close();

    const { token } = await weather.user("Grace");
    await weather.send("POST", "/reports", { cityId: seattle, text: "Hail, just now." }, token);
    const second = await visit(context);
    await second.tab.locator("#reports").getByText("Hail, just now.").waitFor();
    assert.equal(second.answers.get("/"), 304);
    assert.equal(second.answers.get(reportsPath), 200);
    await second.tab.close();

    // As a deployment should write it: the whole file at once.
    const changed = (await readFile(join(directory, "dom.js"), "utf8")) + "\ndocument.documentElement.dataset.release = '2';\n";
    await writeFile(join(directory, ".dom.js"), changed);
    await rename(join(directory, ".dom.js"), join(directory, "dom.js"));
    await until("the service has looked", async () => {
      const { body } = await weather.get<string>("/");
      return !assetsOf(first.answers.keys()).some((path) => path.startsWith("/page/dom.") && body.includes(path));
    });
    const third = await visit(context);
    await third.tab.waitForSelector("html[data-release='2']", { state: "attached" });
    assert.equal(third.answers.get("/"), 200);
    assert.match(assetsOf(third.answers.keys()).join(), /^\/page\/dom\.[\w-]{22}\.js$/);
    await third.tab.close();
  });
});
