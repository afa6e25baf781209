// What docs/cache.md shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createCache } from "./index.ts";

test("the cache is used as its page shows", async () => {
  const fetchForecast = async (id: number) => ({ city: id, celsius: 21 });
  // #region use
  await using cache = createCache({ memory: { maxBytes: 32 * 2 ** 20 } });

  const forecast = await cache.get("forecast:42", { ttl: "5m", stale: "1h", tags: ["forecasts"] }, () => fetchForecast(42));

  await cache.invalidate("forecasts"); // or "forecast:42", or "forecast:*"
  // #endregion
  assert.deepEqual(forecast, { city: 42, celsius: 21 });
  assert.equal(cache.peek("forecast:42"), undefined);
});
