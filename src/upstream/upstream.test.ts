import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { Deadline, runInContext } from "../concurrency/index.ts";
import { type ManualClock, MillraceError, createManualClock } from "../core/index.ts";
import type { AttemptReport } from "./attempt.ts";
import type { UpstreamOptions } from "./options.ts";
import type { UpstreamRequest } from "./request.ts";
import { type Transport, WireFailure, type WireRequest, type WireResponse } from "./transport.ts";
import { UpstreamClient } from "./upstream.ts";

interface Sent {
  readonly origin: string;
  readonly request: WireRequest;
  readonly signal: AbortSignal;
  readonly atMs: number;
}

type Behaviour = (sent: Sent, n: number) => Promise<WireResponse>;

const answer = (status: number, body = "{}", headers: Record<string, string> = {}): WireResponse => ({
  status,
  headers,
  body: Buffer.from(body),
});

const refused = () => Promise.reject(new WireFailure("connection refused", false, undefined));
const never = () => new Promise<WireResponse>(() => {});

/** An upstream without a network, on a clock that stands still. */
function make(behaviour: Behaviour, options: UpstreamOptions = {}) {
  const clock = createManualClock();
  const sent: Sent[] = [];
  const transport: Transport = {
    send(origin, request, signal) {
      const one = { origin, request, signal, atMs: clock.monotonic() };
      sent.push(one);
      return behaviour(one, sent.length);
    },
    close: async () => {},
  };
  const upstream = new UpstreamClient(
    "mill",
    { ...(options.urls === undefined && { url: "http://mill.test" }), clock, random: () => 0.5, ...options },
    transport,
  );
  return { clock, sent, upstream };
}

/** Moves the clock while something waits for it, until `promise` has settled. */
async function settled<Result>(clock: ManualClock, promise: Promise<Result>, stepMs = 5): Promise<PromiseSettledResult<Result>> {
  let result: PromiseSettledResult<Result> | undefined;
  void Promise.allSettled([promise]).then(([one]) => (result = one));
  for (let i = 0; result === undefined && i < 100_000; i++) {
    await setImmediate();
    if (result === undefined) clock.advance(stepMs);
  }
  assert.ok(result, "it settles");
  return result;
}

async function failure(clock: ManualClock, promise: Promise<unknown>): Promise<MillraceError> {
  const result = await settled(clock, promise);
  assert.ok(result.status === "rejected", "it should have failed");
  assert.ok(result.reason instanceof MillraceError, String(result.reason));
  return result.reason;
}

const attemptsOf = (error: MillraceError) => error.details["attempts"] as readonly AttemptReport[];

const get: UpstreamRequest = { path: "/flour" };

suite("a call", () => {
  test("is what the caller says, with the headers of its work", async () => {
    const { sent, upstream } = make(async () => answer(200), { url: "http://mill.test/v1/", headers: { "X-Key": "k" } });
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=1" };
    using deadline = new Deadline();
    await runInContext({ requestId: "req-7", deadline, trace }, () =>
      upstream.request({
        path: "/flour?sort=fine",
        query: { kind: ["rye", "oat"], none: undefined, n: 5 },
        headers: { Accept: "text/plain" },
      }),
    );
    const { origin, request } = sent[0]!;
    assert.equal(origin, "http://mill.test");
    assert.equal(request.method, "GET");
    assert.equal(request.path, "/v1/flour?sort=fine&kind=rye&kind=oat&n=5");
    assert.deepEqual(request.headers, {
      accept: "text/plain",
      "user-agent": "millrace",
      "x-request-id": "req-7",
      traceparent: trace.traceparent,
      tracestate: "a=1",
      "x-key": "k",
    });
  });

  test("cannot leave the upstream's URL", async () => {
    const { sent, upstream } = make(async () => answer(200), { url: "http://mill.test/v1" });
    for (const path of [
      "flour",
      "/../admin",
      "/%2e%2e/admin",
      "/a/../../admin",
      "/..\\admin",
      "http://other.test/",
      "",
      5 as never,
    ]) {
      await assert.rejects(upstream.request({ path }), { code: "MILLRACE_UPSTREAM_REQUEST_INVALID" }, String(path));
    }
    await upstream.request({ path: "//other.test/x" });
    assert.equal(sent[0]!.request.path, "/v1//other.test/x", "a path of the same host");
    await assert.rejects(upstream.request({ path: "/", json: {}, body: "x" }), { code: "MILLRACE_UPSTREAM_REQUEST_INVALID" });
  });

  test("gives JSON that has been looked at", async () => {
    const bodies = ['{"sacks":5}', '{"sacks":"many"}', "<html>", "no"];
    const { upstream } = make(async (_sent, n) => answer(n === 4 ? 404 : 200, bodies[n - 1]));
    const isStock = (value: unknown): value is { sacks: number } =>
      typeof (value as { sacks?: unknown } | null)?.sacks === "number";
    const stock = await upstream.json(get, isStock);
    assert.equal(stock.sacks, 5);
    await assert.rejects(upstream.json(get, { Check: isStock }), { code: "MILLRACE_UPSTREAM_RESPONSE_INVALID" });
    await assert.rejects(upstream.json(get, isStock), { code: "MILLRACE_UPSTREAM_RESPONSE_INVALID" });
    await assert.rejects(upstream.json(get), (error) => {
      assert.ok(error instanceof MillraceError);
      assert.equal(error.code, "MILLRACE_UPSTREAM_STATUS");
      assert.equal(error.details["status"], 404);
      assert.equal(error.details["body"], "no");
      return true;
    });
  });

  test("does not follow redirects, and says where they lead", async () => {
    const { sent, upstream } = make(async () => answer(302, "", { location: "http://169.254.169.254/latest/meta-data" }));
    await assert.rejects(upstream.request(get), {
      code: "MILLRACE_UPSTREAM_REDIRECT",
      message: /http:\/\/169\.254\.169\.254\/latest\/meta-data, which is not followed/,
    });
    assert.equal(sent.length, 1);
  });
});

suite("retries", () => {
  test("come after a jittered wait that doubles, as many as are allowed, and the error says what each attempt did", async () => {
    const { clock, sent, upstream } = make(async (_sent, n) => (n === 2 ? refused() : answer(503)), { maxAttempts: 4 });
    const error = await failure(clock, upstream.request(get));
    assert.equal(error.code, "MILLRACE_UPSTREAM_FAILED");
    assert.deepEqual(
      sent.map(({ atMs }) => atMs),
      [0, 25, 75, 175],
    );
    assert.deepEqual(
      attemptsOf(error).map(({ kind, failure }) => `${kind}: ${failure}`),
      ["first: status 503", "retry: connection refused", "retry: status 503", "retry: status 503"],
    );
    assert.match(
      error.message,
      /^GET \/flour of mill failed \(1\. mill\.test: status 503 after 0 ms; .*; not tried again: 4 attempts are all/,
    );
  });

  test("bring the answer, and say what came before", async () => {
    const { clock, upstream } = make(async (_sent, n) => answer(n < 3 ? 500 : 200, "flour"));
    const result = await settled(clock, upstream.request(get));
    assert.ok(result.status === "fulfilled");
    assert.equal(result.value.body.toString(), "flour");
    assert.equal(result.value.attempts.length, 2);
  });

  test("wait as long as they are asked to, in seconds or until a date, and do not try when that is too long", async () => {
    const inTwo = new Date(Date.UTC(2026, 0, 1) + 3_000).toUTCString();
    const headers = ["1", inTwo, "soon"];
    const { clock, sent, upstream } = make(
      async (_sent, n) => (n < 4 ? answer(429, "", { "retry-after": headers[n - 1]! }) : answer(200)),
      { maxAttempts: 4, deadline: "10s" },
    );
    assert.equal((await settled(clock, upstream.request(get))).status, "fulfilled");
    assert.deepEqual(
      sent.map(({ atMs }) => atMs),
      [0, 1_000, 3_000, 3_100],
    );

    const patient = make(async () => answer(503, "", { "retry-after": "60" }));
    const error = await failure(patient.clock, patient.upstream.request(get));
    assert.equal(error.details["stopped"], "there is no time left for the wait before another");
    assert.equal(error.details["retryAfterMs"], 60_000);
    assert.equal(patient.clock.monotonic(), 0, "it is said at once");
  });

  test("are not made of what the upstream may have done, unless that is as good twice as once", async () => {
    const post: UpstreamRequest = { method: "POST", path: "/orders", json: { sacks: 5 } };
    const once = make(async () => answer(503));
    const error = await failure(once.clock, once.upstream.request(post));
    assert.equal(error.details["stopped"], "the upstream may have acted on it, and it is not idempotent");
    assert.equal(once.sent.length, 1);

    const unsent = make(async (_sent, n) => (n === 1 ? refused() : answer(201)));
    assert.equal((await settled(unsent.clock, unsent.upstream.request(post))).status, "fulfilled");
    assert.equal(unsent.sent.length, 2, "nobody has seen the first");

    const honoured = make(async (_sent, n) => answer(n === 1 ? 503 : 201));
    assert.equal((await settled(honoured.clock, honoured.upstream.request({ ...post, idempotent: true }))).status, "fulfilled");
    const keys = honoured.sent.map(({ request }) => request.headers["idempotency-key"]);
    assert.match(keys[0]!, /^[0-9a-f-]{36}$/);
    assert.equal(keys[0], keys[1], "the same key in all attempts");
    assert.equal(honoured.sent[0]!.request.body, '{"sacks":5}');
    assert.equal(honoured.sent[0]!.request.headers["content-type"], "application/json");
    await settled(honoured.clock, honoured.upstream.request({ ...post, idempotencyKey: "mine" }));
    assert.equal(honoured.sent.at(-1)!.request.headers["idempotency-key"], "mine");
  });

  test("are no answer to what is not worth repeating", async () => {
    for (const status of [400, 404, 409, 501]) {
      const { sent, upstream } = make(async () => answer(status));
      assert.equal((await upstream.request(get)).status, status);
      assert.equal(sent.length, 1);
    }
  });

  test("of an upstream that fails wholly are a fifth of the calls and ten a second", async () => {
    const { clock, sent, upstream } = make(async () => answer(503), { breakerMinimum: 1_000_000, maxConcurrent: 10_000 });
    const calls: Promise<unknown>[] = [];
    for (let second = 0; second < 10; second++) {
      for (let i = 0; i < 200; i++) {
        calls.push(upstream.request(get).catch(() => {}));
        clock.advance(5);
        if (i % 10 === 0) await setImmediate();
      }
    }
    await settled(clock, Promise.all(calls));
    const extra = sent.length - 2_000;
    assert.ok(extra <= 0.2 * 2_000 + 10 * 11, `${extra} more than asked for`);
    assert.ok(extra >= 0.2 * 2_000, `${extra}: what is allowed is used`);
  });
});

suite("a deadline", () => {
  test("ends the call with all its attempts and waits", async () => {
    const { clock, sent, upstream } = make(async (_sent, n) => (n === 1 ? answer(503) : never()), { deadline: "1s" });
    const error = await failure(clock, upstream.request(get));
    assert.equal(error.code, "MILLRACE_UPSTREAM_TIMEOUT");
    assert.equal(clock.monotonic(), 1_000);
    assert.deepEqual(
      attemptsOf(error).map(({ failure }) => failure),
      ["status 503", "not done at the deadline"],
    );
    assert.equal(sent[1]!.signal.aborted, true);
    assert.equal(clock.pendingTimers, 0);
  });

  test("of the work around it ends it with that work's reason, and does not speak against the upstream", async () => {
    const { clock, sent, upstream } = make(never, { breakerMinimum: 1 });
    const controller = new AbortController();
    const call = upstream.request({ ...get, signal: controller.signal });
    await setImmediate();
    const left = new Error("the client left");
    controller.abort(left);
    await assert.rejects(call, left);
    assert.equal(sent[0]!.signal.aborted, true);
    assert.equal(upstream.stats().breaker, "closed");
    using deadline = new Deadline({ timeoutMs: 100, clock });
    const inWork = runInContext({ requestId: "a", deadline }, () => upstream.request(get));
    await setImmediate();
    clock.advance(100);
    await assert.rejects(inWork, { code: "MILLRACE_DEADLINE_EXCEEDED" });
    await assert.rejects(upstream.request({ ...get, signal: controller.signal }), left);
    assert.equal(sent.length, 2);
  });
});

suite("the bulkhead", () => {
  test("lets so many calls run, so many wait, and refuses the next", async () => {
    const gates: PromiseWithResolvers<WireResponse>[] = [];
    const { clock, sent, upstream } = make(
      () => {
        const gate = Promise.withResolvers<WireResponse>();
        gates.push(gate);
        return gate.promise;
      },
      { maxConcurrent: 2, maxQueue: 1 },
    );
    const calls = [1, 2, 3].map(() => upstream.request(get));
    await setImmediate();
    assert.equal(sent.length, 2);
    assert.equal((await failure(clock, upstream.request(get))).code, "MILLRACE_UPSTREAM_BUSY");
    gates[0]!.resolve(answer(200));
    await calls[0];
    await setImmediate();
    assert.equal(sent.length, 3);
    gates[1]!.resolve(answer(200));
    gates[2]!.resolve(answer(200));
    await Promise.all(calls);
    assert.deepEqual({ running: upstream.stats().running, waiting: upstream.stats().waiting }, { running: 0, waiting: 0 });
  });

  test("does not hold who waits longer than the call may take", async () => {
    const { clock, upstream } = make(never, { maxConcurrent: 1, deadline: "1s" });
    const first = failure(clock, upstream.request(get));
    const second = upstream.request({ ...get, deadline: "100ms" });
    const error = await failure(clock, second);
    assert.equal(error.code, "MILLRACE_UPSTREAM_TIMEOUT");
    assert.deepEqual(attemptsOf(error), []);
    await first;
  });
});

suite("hedging", () => {
  /** Enough quick answers to know the 95th percentile. */
  async function warm({ clock, upstream }: ReturnType<typeof make>): Promise<void> {
    for (let i = 0; i < 60; i++) await settled(clock, upstream.request(get), 10);
  }
  const quick = (clock: () => ManualClock) => () =>
    new Promise<WireResponse>((resolve) => void clock().timer(10, () => resolve(answer(200))));

  test("asks a second time when the first takes longer than 95 % do; the faster answers, the other is aborted", async () => {
    let slow = false;
    const made = make((sent) => (slow && sent === made.sent.at(60) ? never() : quick(() => made.clock)()), {
      urls: ["http://a.test", "http://b.test"],
    });
    await warm(made);
    assert.equal(made.sent.length, 60);
    assert.equal(made.upstream.stats().p95Ms, 10);
    slow = true;
    const result = await settled(made.clock, made.upstream.request(get));
    assert.ok(result.status === "fulfilled");
    assert.equal(made.sent.length, 62);
    assert.equal(made.sent[60]!.signal.aborted, true);
    assert.notEqual(made.sent[60]!.origin, made.sent[61]!.origin, "elsewhere");
    assert.deepEqual(
      result.value.attempts.map(({ kind, failure }) => `${kind}: ${failure}`),
      ["first: overtaken"],
    );
    assert.equal(made.upstream.stats().breaker, "closed");
    assert.equal(made.clock.pendingTimers, 0);
  });

  test("is for idempotent calls, and charged to the retry budget", async () => {
    for (const [options, request] of [
      [{}, { method: "POST", path: "/orders" }],
      [{ budgetRatio: 0, budgetPerSecond: 0 }, get],
      [{ hedge: false }, get],
    ] as const) {
      let slow = false;
      const made = make(() => (slow ? never() : quick(() => made.clock)()), { deadline: "1s", ...options });
      await warm(made);
      slow = true;
      await failure(made.clock, made.upstream.request(request));
      assert.equal(made.sent.length, 61);
    }
  });

  test("stays few when every call is late at once", async () => {
    let stalled = false;
    const made = make(() => new Promise((resolve) => void made.clock.timer(stalled ? 50 : 10, () => resolve(answer(200)))), {
      maxConcurrent: 1_000,
    });
    await warm(made);
    stalled = true;
    const calls: Promise<unknown>[] = [];
    for (let i = 0; i < 400; i++) {
      calls.push(made.upstream.request(get));
      await setImmediate();
      made.clock.advance(1);
    }
    await settled(made.clock, Promise.all(calls));
    const hedges = made.sent.length - 460;
    assert.ok(hedges <= 0.04 * 460 + 2, `${hedges} hedges`);
    assert.ok(hedges > 0);
  });

  test("waits for the first when the hedge fails", async () => {
    let slow = false;
    const made = make((_sent, n) => {
      if (n === 61) return new Promise((resolve) => void made.clock.timer(100, () => resolve(answer(200, "first"))));
      if (n === 62) return refused();
      assert.equal(slow, false);
      return quick(() => made.clock)();
    });
    await warm(made);
    slow = true;
    const result = await settled(made.clock, made.upstream.request(get));
    assert.ok(result.status === "fulfilled");
    assert.equal(result.value.body.toString(), "first");
  });
});

suite("replicas", () => {
  const urls = ["http://a.test", "http://b.test", "http://c.test"];

  test("that fail again and again are left out for a while, but never more than half of them", async () => {
    let seed = 1;
    const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const made = make(async ({ origin }) => answer(origin === "http://b.test" ? 500 : 200), {
      urls,
      random,
      ejectAfter: 3,
      ejectFor: "10s",
    });
    const { clock, sent, upstream } = made;
    for (let i = 0; i < 60; i++) await settled(clock, upstream.request(get));
    const outAt = upstream.stats().replicas.map(({ out }) => out);
    assert.deepEqual(outAt, [false, true, false]);
    const failures = sent.filter(({ origin }) => origin === "http://b.test").length;
    assert.equal(failures, 3, "no more than it took to know");
    clock.advance(10_000);
    for (let i = 0; i < 20; i++) await settled(clock, upstream.request(get));
    assert.ok(sent.filter(({ origin }) => origin === "http://b.test").length > failures, "it is tried again");

    const all = make(async () => answer(500), { urls, random, ejectAfter: 1, breakerMinimum: 1_000_000, maxAttempts: 1 });
    for (let i = 0; i < 30; i++) await settled(all.clock, all.upstream.request(get));
    assert.equal(all.upstream.stats().replicas.filter(({ out }) => out).length, 1);
  });

  test("that are slow or busy get less, and a retry goes to another", async () => {
    let seed = 7;
    const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const made = make(
      ({ origin }) =>
        new Promise((resolve) => void made.clock.timer(origin === "http://c.test" ? 200 : 10, () => resolve(answer(200)))),
      { urls, random, hedge: false },
    );
    for (let i = 0; i < 100; i++) await settled(made.clock, made.upstream.request(get), 10);
    const toSlow = made.sent.filter(({ origin }) => origin === "http://c.test").length;
    assert.ok(toSlow >= 1 && toSlow <= 15, `${toSlow} of 100`);

    const failing = make(async () => answer(503), { urls });
    await failure(failing.clock, failing.upstream.request(get));
    assert.equal(new Set(failing.sent.map(({ origin }) => origin)).size, 3);
  });
});

suite("the breaker", () => {
  test("leaves an upstream alone during an hour of outage, and is back soon after it", async () => {
    let down = true;
    const { clock, sent, upstream } = make(async () => (down ? refused() : answer(200)));
    const codes = new Map<string, number>();
    const second = async () => {
      for (let i = 0; i < 20; i++) {
        await upstream.request(get).then(
          () => codes.set("ok", (codes.get("ok") ?? 0) + 1),
          ({ code }: MillraceError) => codes.set(code, (codes.get(code) ?? 0) + 1),
        );
      }
    };
    /** Twenty calls a second: each waits only in its backoff, for which the clock moves on. */
    const during = async (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        const startMs = clock.monotonic();
        await settled(clock, second(), 20);
        clock.advance(Math.max(0, 1_000 - (clock.monotonic() - startMs)));
      }
    };
    await during(3_600);
    assert.equal(codes.get("ok"), undefined);
    assert.ok(codes.get("MILLRACE_UPSTREAM_OPEN")! > 0.98 * 20 * 3_600, JSON.stringify([...codes]));
    assert.ok(sent.length < 600, `${sent.length} attempts in an hour of 72,000 calls`);

    down = false;
    const before = clock.monotonic();
    while (upstream.stats().breaker !== "closed") {
      await during(1);
      assert.ok(clock.monotonic() - before <= 61_000, "at the latest a minute after");
    }
    codes.clear();
    await during(5);
    assert.deepEqual([...codes], [["ok", 100]]);
    assert.equal(clock.pendingTimers, 0);
  });

  test("stops retries that are under way", async () => {
    const { clock, sent, upstream } = make(async () => answer(503), { breakerMinimum: 2 });
    const error = await failure(clock, upstream.request(get));
    assert.equal(error.details["stopped"], "the breaker is open");
    assert.equal(sent.length, 2);
    const open = await failure(clock, upstream.request(get));
    assert.equal(open.code, "MILLRACE_UPSTREAM_OPEN");
    assert.ok((open.details["retryAfterMs"] as number) > 0);
  });
});

suite("an upstream", () => {
  test("that closes lets its calls end and takes no more", async () => {
    const gate = Promise.withResolvers<WireResponse>();
    const { upstream } = make(() => gate.promise);
    const call = upstream.request(get);
    let closed = false;
    const closing = upstream.close().then(() => (closed = true));
    await assert.rejects(upstream.request(get), { code: "MILLRACE_CLOSED" });
    await setImmediate();
    assert.equal(closed, false);
    gate.resolve(answer(200));
    await Promise.all([call, closing]);
  });

  test("says which option is wrong", () => {
    const create = (options: UpstreamOptions) => () => new UpstreamClient("mill", options, undefined);
    for (const options of [
      {},
      { url: "ftp://mill.test" },
      { url: "http://user:pass@mill.test" },
      { url: "http://mill.test", urls: ["http://mill.test"] },
      { urls: ["http://a.test/v1", "http://b.test/v2"] },
      { url: "http://mill.test", allowPrivate: ["everything"] },
      { url: "http://mill.test", budgetRatio: 2 },
    ]) {
      assert.throws(create(options), { code: "MILLRACE_OPTION_INVALID" }, JSON.stringify(options));
    }
    assert.throws(create({ url: "http://mill.test", retries: 5 } as never), { code: "MILLRACE_OPTION_UNKNOWN" });
    for (const url of ["http://127.0.0.1:80", "http://[::1]/", "http://2130706433/", "http://0x7f.1/", "http://169.254.169.254/"]) {
      assert.throws(create({ url }), { code: "MILLRACE_UPSTREAM_ADDRESS_REFUSED" }, url);
    }
  });
});
