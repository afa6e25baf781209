// The page for people, in a real browser: it works under its strict policy, by keyboard, on a phone, and says how fresh each part is.

import assert from "node:assert/strict";
import { after, before, beforeEach, suite, test } from "node:test";
import { type ManualClock, createManualClock } from "millrace";
import { type Browser, type BrowserContextOptions, type Page as Tab, chromium } from "playwright-core";
import { debianPackage } from "../harness/debian.ts";
import { send } from "../http/client.ts";
import { type Weather, newYork, seattle, startWeather, until } from "./harness.ts";

const saoPaulo = 3448439;
const minuteMs = 60_000;

/** Patience of the browser's waits, in milliseconds. */
const patienceMs = 30_000;

suite("the page", { timeout: 170_000 }, () => {
  const disposables = new AsyncDisposableStack();
  let clock: ManualClock;
  let weather: Weather;
  let browser: Browser;
  before(async () => {
    const executablePath = await debianPackage("chromium", "/usr/bin/chromium");
    clock = createManualClock();
    weather = disposables.use(
      await startWeather({ forecastCache: { clock, earlyRefresh: 0 }, upstream: { breakerMinimum: 1_000 } }),
    );
    browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu"] });
    disposables.defer(() => browser.close());
  });
  after(() => disposables.disposeAsync());
  beforeEach(() => weather.simulator.disturb({}));

  interface Opened extends AsyncDisposable {
    readonly tab: Tab;
    /** Everything that the browser complains of, and every question to somebody else. */
    readonly complaints: string[];
  }

  async function open(hash = "", options: BrowserContextOptions = {}): Promise<Opened> {
    const context = await browser.newContext({ viewport: { width: 1_100, height: 900 }, ...options });
    context.setDefaultTimeout(patienceMs);
    const tab = await context.newPage();
    const complaints: string[] = [];
    tab.on("console", (message) => void (message.type() === "error" && complaints.push(message.text())));
    tab.on("pageerror", (error) => void complaints.push(String(error)));
    tab.on("dialog", (dialog) => {
      complaints.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    tab.on("request", (request) => void (request.url().startsWith(weather.url) || complaints.push(request.url())));
    await tab.goto(`${weather.url}/${hash}`);
    await tab.waitForSelector("body[data-shown]");
    return { tab, complaints, [Symbol.asyncDispose]: () => context.close() };
  }

  /** Lets the page ask again without waiting for its time. */
  const askAgain = (tab: Tab) => tab.evaluate('void document.dispatchEvent(new Event("visibilitychange"))');
  const freshnessOf = (tab: Tab, part: string) => tab.locator(`#${part}-freshness`);

  test("a city is found and chosen by keyboard, and its forecast is a plot with axes and a table", async () => {
    await using opened = await open();
    const { tab } = opened;
    assert.equal(await tab.getByRole("heading", { level: 2 }).first().innerText(), "Seattle");
    const search = tab.getByRole("combobox", { name: "City" });
    await search.focus();
    await tab.keyboard.type("sao pa");
    await tab.getByRole("option", { name: /^São Paulo Brazil 10,021,295 people$/ }).waitFor();
    assert.equal(await search.getAttribute("aria-expanded"), "true");
    await tab.keyboard.press("ArrowDown");
    await tab.keyboard.press("ArrowUp");
    assert.equal(await search.getAttribute("aria-activedescendant"), "result-0");
    await tab.keyboard.press("Enter");
    await tab.waitForSelector(`body[data-shown="${saoPaulo}"]`);
    assert.equal(new URL(tab.url()).hash, `#${saoPaulo}`);
    assert.equal(await tab.title(), "São Paulo · Weather");
    assert.equal(await search.getAttribute("aria-expanded"), "false");

    assert.equal((await tab.locator("#plot .curve").getAttribute("d"))!.match(/[ML]/g)!.length, 72);
    const labels = await tab.locator("#plot text").allTextContents();
    assert.ok(labels.includes("°C") && labels.includes("now") && labels.includes("12"), labels.join(" "));
    assert.equal(labels.filter((label) => /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d+ [A-Z]/.test(label)).length, 3);
    assert.match(await tab.locator("#now").innerText(), /^−?\d+ °C\s+now, \d\d:\d\d there$/);

    const plot = tab.getByRole("slider", { name: "Hour" });
    await plot.focus();
    await tab.keyboard.press("Home");
    assert.match((await plot.getAttribute("aria-valuetext"))!, /, 00:00, Temperature −?\d+\.\d °C$/);
    await tab.keyboard.press("PageDown");
    await tab.keyboard.press("PageUp");
    await tab.keyboard.press("ArrowRight");
    assert.match((await plot.getAttribute("aria-valuetext"))!, /, 01:00, /);
    await tab.getByLabel("Wind").focus();
    await tab.keyboard.press("Space");
    assert.match((await plot.getAttribute("aria-valuetext"))!, /, 01:00, Wind \d+\.\d m\/s$/);
    assert.ok((await tab.locator("#plot text").allTextContents()).includes("m/s"));

    await tab.getByText("All hours as a table").click();
    // The browser says later that it is open, and only then it is filled.
    await tab.locator("#hours tbody tr").first().waitFor();
    assert.equal(await tab.locator("#hours tbody tr").count(), 72);
    await tab.goBack();
    await tab.waitForSelector(`body[data-shown="${seattle}"]`);
    assert.deepEqual(opened.complaints, []);
  });

  test("it says how fresh the forecast is, keeps the last one through an outage, and asks again when there is none", async () => {
    await using opened = await open(`#${newYork}`);
    const { tab } = opened;
    const state = freshnessOf(tab, "forecast");
    await tab.waitForSelector('#forecast-freshness[data-state="fresh"]');

    weather.simulator.disturb({ outage: true });
    clock.advance(14 * minuteMs);
    await askAgain(tab);
    await tab.waitForSelector('#forecast-freshness[data-state="stale"]');
    assert.match(await state.locator("summary").innerText(), /^Stale · a newer one is not there yet · 14 min old$/);
    await state.locator("summary").click();
    assert.match(await state.innerText(), /Cache-Status: forecasts; hit; ttl=-\d+; detail=expired\s+Age: 84\d/);
    assert.equal(await tab.locator("#plot .curve").count(), 1);
    // Its part of the overview is as old, and says so.
    await tab.waitForSelector('#elsewhere-freshness[data-state="stale"]');

    clock.advance(7 * 60 * minuteMs);
    await tab.goto(`${weather.url}/#${saoPaulo}`);
    await tab.waitForSelector('#forecast-freshness[data-state="missing"]');
    assert.match(await tab.getByRole("alert").first().innerText(), /^There is no forecast at the moment/);
    assert.equal(await tab.locator("#plot").isVisible(), false);
    assert.equal(await freshnessOf(tab, "reports").getAttribute("data-state"), "fresh");
    await askAgain(tab);
    await tab.locator("#elsewhere").getByText("Forecast its API does not answer").first().waitFor();

    weather.simulator.disturb({});
    // By itself, after Retry-After, as soon as cache and breaker let a call through.
    await until(
      "it is there again",
      async () => {
        clock.advance(1_000);
        return (await state.getAttribute("data-state")) === "fresh";
      },
      60_000,
    );
    assert.equal(await tab.locator("#plot").isVisible(), true);
    assert.equal(await tab.getByRole("alert").first().isVisible(), false);
    assert.deepEqual(
      opened.complaints.filter((complaint) => !/the server responded with a status of 503/.test(complaint)),
      [],
    );
  });

  test("whatever people write is text: in reports, tags, names, and beside other cities", async () => {
    const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>`;
    const { token } = await weather.user(`<b onclick=alert(1)>Mallory</b>`);
    const tags = [`"><svg onload=alert(1)>`];
    await weather.send("POST", "/reports", { cityId: newYork, text: hostile, tags }, token);
    await using opened = await open(`#${newYork}`);
    const { tab } = opened;
    const report = tab.locator("#reports > li").first();
    assert.equal(await report.locator(".text").innerText(), hostile);
    assert.match(await report.innerText(), /"><svg onload=alert\(1\)>\s*<b onclick=alert\(1\)>Mallory<\/b> · /);
    await tab.locator("#elsewhere").getByText(hostile).waitFor();
    assert.equal(await tab.locator("main :is(img, script, b)").count(), 0);
    assert.equal(await tab.evaluate("window.hacked"), undefined);
    assert.deepEqual(opened.complaints, []);
    // And if a script got in after all, the policy would not run it.
    await tab.evaluate(
      `document.body.append(document.createRange().createContextualFragment("<script>window.hacked=3</" + "script>"))`,
    );
    assert.equal(await tab.evaluate("window.hacked"), undefined);
    assert.match(opened.complaints.join(), /Content Security Policy/);
  });

  test("who signs up can report, sees the report at once, and is told what is wrong with a field", async () => {
    await using opened = await open();
    const { tab } = opened;
    await tab.getByText("Sign in to report the weather").click();
    const signIn = tab.getByRole("form", { name: "Sign in" });
    await signIn.getByLabel("Email").fill(`ada-${Date.now()}@example.org`);
    await signIn.getByLabel("Password").fill("a good password");
    await signIn.getByRole("button", { name: "Sign up" }).click();
    await signIn.getByRole("alert").filter({ hasText: /name/ }).waitFor(); // the name is missing
    await signIn.getByLabel("Name").fill("Ada");
    await signIn.getByRole("button", { name: "Sign up" }).click();

    const form = tab.getByRole("form", { name: "Report the weather" });
    await form.getByLabel("What is it like?").fill("Rain, of course.");
    await form.getByLabel("Temperature").fill("9.5");
    await form.getByLabel("Tags").fill("rain, wet");
    await form.getByRole("button", { name: "Report" }).click();
    const report = tab.locator("#reports > li").filter({ hasText: "Rain, of course." });
    await report.waitFor();
    assert.match(await report.innerText(), /rain\s*wet\s*Ada · just now · 9\.5 °C/);
    await tab.reload();
    await tab.getByText("Signed in as Ada.").waitFor();
    await tab.getByRole("button", { name: "Sign out" }).click();
    await tab.getByText("Sign in to report the weather").waitFor();
    assert.deepEqual(
      opened.complaints.filter((complaint) => !/the server responded with a status of 400/.test(complaint)),
      [],
    );
  });

  test("on a phone nothing is cut off, and in the dark it is dark", async () => {
    await using opened = await open("", { viewport: { width: 360, height: 740 }, colorScheme: "dark" });
    const { tab } = opened;
    const overflow = () => tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert.equal(await overflow(), 0);
    await tab.getByText("Sign in to report the weather").click();
    await tab.getByText("All hours as a table").click();
    // The browser says later that it is open, and only then it is filled.
    await tab.locator("#hours tbody tr").first().waitFor();
    assert.equal(await overflow(), 0);
    const [paper, ink] = (await tab.evaluate(
      "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]",
    )) as [string, string];
    const brightness = (color: string) =>
      color
        .match(/\d+/g)!
        .slice(0, 3)
        .reduce((sum, part) => sum + Number(part), 0) / 3;
    assert.ok(brightness(paper) < 40 && brightness(ink) > 200, `${paper} ${ink}`);
    assert.deepEqual(opened.complaints, []);
  });

  test("its files come compressed, with a tag, under strict headers; nothing else of the folder's neighbourhood does", async () => {
    const page = await send(`${weather.url}/`, { headers: { "accept-encoding": "br" } });
    assert.equal(page.status, 200);
    assert.equal(page.headers["content-encoding"], "br");
    assert.match(
      String(page.headers["content-security-policy"]),
      /^default-src 'none'; script-src 'self' 'sha256-[\w+/=]+'; style-src 'self'; /,
    );
    assert.doesNotMatch(String(page.headers["content-security-policy"]), /unsafe/);
    const headers = { "accept-encoding": "br", "if-none-match": String(page.headers["etag"]) };
    assert.equal((await send(`${weather.url}/`, { headers })).status, 304);
    const script = await send(`${weather.url}/page/main.js`);
    assert.equal(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert.equal(script.headers["x-content-type-options"], "nosniff");
    for (const path of [
      "nothing.js",
      "index.html",
      "..%2Fpackage.json",
      "%2e%2e%2fsrc%2fmain.js",
      "main.js%00.css",
      "../src/main.ts",
    ])
      assert.ok([400, 404].includes((await send(`${weather.url}/page/${path}`)).status), path);
  });
});
