// What an upstream in trouble costs: calls made against an upstream that fails wholly, and what an endpoint beside it notices; and
// the tail of latencies with one slow replica of three. Calls start at a fixed rate, whatever becomes of those before (open loop).

import { ConsecutiveBreaker, ExponentialBackoff, circuitBreaker, handleAll, retry, wrap } from "cockatiel";
import CircuitBreaker from "opossum";
import { Agent, RetryAgent, fetch } from "undici";
import { type Upstream, createUpstream } from "../../src/upstream/index.ts";
import { printTable } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer } from "../harness/server.ts";
import type { BenchOptions } from "../harness/options.ts";

type Client = (origins: readonly string[]) => { call(path: string): Promise<unknown>; close(): Promise<unknown> };

const nothing = async () => {};
const oneOf = (origins: readonly string[]) => origins[Math.floor(Math.random() * origins.length)]!;

async function plain(url: string): Promise<unknown> {
  const response = await fetch(url, { signal: AbortSignal.timeout(3_000) });
  if (response.status >= 500) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  return response.json();
}

const millrace =
  (options: { readonly hedge: boolean }): Client =>
  (origins) => {
    const upstream: Upstream = createUpstream("bench", { urls: origins, allowPrivate: true, maxConcurrent: 1_000, ...options });
    return { call: (path) => upstream.json({ path }), close: () => upstream.close() };
  };

const clients: Record<string, Client> = {
  fetch: (origins) => ({ call: (path) => plain(`${oneOf(origins)}${path}`), close: nothing }),
  "undici RetryAgent": (origins) => {
    const agent = new RetryAgent(new Agent(), { maxRetries: 2, minTimeout: 50 });
    return {
      async call(path) {
        const { statusCode, body } = await agent.request({
          origin: oneOf(origins),
          path,
          method: "GET",
          signal: AbortSignal.timeout(3_000),
        });
        if (statusCode >= 500) {
          await body.dump();
          throw new Error(`status ${statusCode}`);
        }
        return body.json();
      },
      close: () => agent.destroy(),
    };
  },
  "cockatiel, retry": (origins) => {
    const policy = retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff({ initialDelay: 50 }) });
    return { call: (path) => policy.execute(() => plain(`${oneOf(origins)}${path}`)), close: nothing };
  },
  "cockatiel, retry + breaker": (origins) => {
    const policy = wrap(
      retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff({ initialDelay: 50 }) }),
      circuitBreaker(handleAll, { halfOpenAfter: 2_000, breaker: new ConsecutiveBreaker(10) }),
    );
    return { call: (path) => policy.execute(() => plain(`${oneOf(origins)}${path}`)), close: nothing };
  },
  opossum: (origins) => {
    const breaker = new CircuitBreaker(plain, { timeout: 3_000, resetTimeout: 2_000, errorThresholdPercentage: 50 });
    return { call: (path) => breaker.fire(`${oneOf(origins)}${path}`), close: async () => breaker.shutdown() };
  },
  "millrace, no hedging": millrace({ hedge: false }),
  millrace: millrace({ hedge: true }),
};

/** Starts calls at `perSecond` for `seconds`; the milliseconds of those that succeeded, and how many did not. */
async function load(seconds: number, perSecond: number, call: () => Promise<unknown>) {
  const took: number[] = [];
  let failed = 0;
  const calls: Promise<void>[] = [];
  const startMs = performance.now();
  for (let i = 0; i < seconds * perSecond; i++) {
    const dueMs = startMs + (i * 1_000) / perSecond;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    calls.push(
      call().then(
        () => void took.push(performance.now() - dueMs),
        () => void failed++,
      ),
    );
  }
  await Promise.all(calls);
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? NaN;
  return {
    calls: calls.length,
    failed,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    seconds: (performance.now() - startMs) / 1_000,
  };
}

const counted = async (servers: readonly ServerUnderTest[]): Promise<number> => {
  let all = 0;
  for (const { origin } of servers) all += Number(await (await fetch(`${origin}/count`)).text());
  return all;
};

export async function run({ seconds, rounds = 1, only }: BenchOptions): Promise<unknown> {
  const names = Object.keys(clients).filter((name) => !only || only.includes(name));
  await using fast1 = await startNodePeer("upstream-server.ts", ["fast"]);
  await using fast2 = await startNodePeer("upstream-server.ts", ["fast"]);
  await using slow = await startNodePeer("upstream-server.ts", ["slow"]);
  await using failing = await startNodePeer("upstream-server.ts", ["failing"]);
  const outage: string[][] = [];
  const tail: string[][] = [];
  const results: Record<string, unknown>[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const bad = clients[name]!([failing.origin]);
      const good = clients["fetch"]!([fast1.origin]);
      const before = await counted([failing]);
      const [hit, beside] = await Promise.all([
        load(seconds, 200, () => bad.call("/forecast")),
        load(seconds, 50, () => good.call("/other")),
      ]);
      const sent = (await counted([failing])) - before;
      await bad.close();
      outage.push([
        name,
        String(hit.calls),
        String(sent),
        `× ${(sent / hit.calls).toFixed(2)}`,
        (0.2 * hit.calls + hit.calls + 10 * (hit.seconds + 1)).toFixed(0),
        beside.p50.toFixed(1),
        beside.p99.toFixed(1),
      ]);

      const replicas = [fast1, fast2, slow];
      const client = clients[name]!(replicas.map(({ origin }) => origin));
      await load(2, 200, () => client.call("/forecast")); // latencies are known, connections are open
      const from = await counted(replicas);
      const spread = await load(seconds, 200, () => client.call("/forecast"));
      const extra = (await counted(replicas)) - from - spread.calls;
      await client.close();
      tail.push([
        name,
        spread.p50.toFixed(1),
        spread.p99.toFixed(1),
        spread.p999.toFixed(1),
        String(spread.failed),
        `${((100 * extra) / spread.calls).toFixed(1)} %`,
      ]);
      results.push({ name, outage: { ...hit, sent }, beside, tail: spread, extra });
    }
  }
  console.log("An upstream that fails wholly, 200 calls a second");
  printTable(["", "calls", "sent", "", "1.2× + 10/s", "ms of an endpoint beside: p50", "p99"], outage);
  console.log("\nThree replicas, one of which takes 200 ms instead of 5, 200 calls a second");
  printTable(["", "ms: p50", "p99", "p99.9", "failed", "extra calls"], tail);
  return results;
}
