import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { createSingleFlight } from "./single-flight.ts";

test("who asks for the same thing at the same time gets the same answer", async () => {
  let calls = 0;
  const fetchForecast = async (city: number, _options: { signal: AbortSignal }) => {
    calls++;
    await setImmediate();
    return { city, sky: "grey" };
  };
  // #region single-flight
  const forecasts = createSingleFlight<number, { city: number; sky: string }>({ deadline: "2s" });

  const forecastOf = (city: number) => forecasts.run(city, ({ signal }) => fetchForecast(city, { signal }));
  // #endregion
  const answers = await Promise.all([forecastOf(7), forecastOf(7), forecastOf(8)]);
  assert.deepEqual(answers[0], { city: 7, sky: "grey" });
  assert.equal(answers[0], answers[1]);
  assert.equal(calls, 2);
  assert.equal(forecasts.size, 0);
});

suite("a shared execution", () => {
  test("fails for all who wait, and the next caller starts anew", async () => {
    const flights = createSingleFlight<string, number>();
    const mistake = new Error("x");
    const both = [flights.run("a", () => Promise.reject(mistake)), flights.run("a", () => 1)];
    for (const one of both) await assert.rejects(one, mistake);
    assert.equal(await flights.run("a", () => 2), 2);
    await assert.rejects(
      flights.run("a", () => {
        throw mistake;
      }),
      mistake,
    );
    assert.equal(flights.has("a"), false);
  });

  test("goes on while one still waits, and is aborted when the last has left", async () => {
    const flights = createSingleFlight<string, number>();
    const reasons: unknown[] = [];
    const work = (deadline: Deadline) => new Promise<number>(() => void deadline.onAbort((reason) => reasons.push(reason)));
    const [a, b] = [new AbortController(), new AbortController()];
    const first = flights.run("a", work, { signal: a.signal });
    const second = flights.run("a", work, { signal: b.signal });
    a.abort(new Error("a left"));
    await assert.rejects(first, /a left/);
    assert.deepEqual(reasons, []);
    assert.equal(flights.has("a"), true);
    b.abort(new Error("b left"));
    await assert.rejects(second, /b left/);
    assert.equal((reasons as { code?: string }[])[0]!.code, "MILLRACE_FLIGHT_ABANDONED");
    assert.equal(await flights.run("a", () => 3), 3, "nobody joins what has been aborted");
  });

  test("has a deadline of its own, not its first caller's", async () => {
    const clock = createManualClock();
    const flights = createSingleFlight<string, number>({ deadline: "1s", clock });
    const gate = Promise.withResolvers<number>();
    using short = new Deadline({ timeoutMs: 100, clock });
    const seen: unknown[] = [];
    const first = runInContext({ requestId: "req-1", deadline: short, principalId: "user-1", tenant: "mill" }, () =>
      flights.run("a", () => {
        const { requestId, principalId, tenant } = currentContext()!;
        seen.push(requestId, principalId, tenant);
        return gate.promise;
      }),
    );
    const second = flights.run("a", () => assert.fail("it joins"));
    clock.advance(100);
    await assert.rejects(first, { code: "MILLRACE_DEADLINE_EXCEEDED", details: { deadline: "100ms" } });
    gate.resolve(5);
    assert.equal(await second, 5);
    assert.deepEqual(seen, ["req-1", undefined, undefined]);
    const third = flights.run("a", () => new Promise<number>(() => {}));
    clock.advance(1_000);
    await assert.rejects(third, { code: "MILLRACE_DEADLINE_EXCEEDED", details: { deadline: "1s" } });
    assert.equal(clock.pendingTimers, 0);
  });

  test("that is forgotten still serves who waits, and the next caller starts anew", async () => {
    const flights = createSingleFlight<string, number>();
    const gate = Promise.withResolvers<number>();
    const old = flights.run("a", () => gate.promise);
    flights.forget("a");
    const fresh = flights.run("a", () => 2);
    gate.resolve(1);
    assert.deepEqual(await Promise.all([old, fresh]), [1, 2]);
  });
});

test("in any order of calls, departures and landings there is one execution per key, and everybody learns its end", async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("run" as const), key: fc.nat(1) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("land" as const), key: fc.nat(1), well: fc.boolean() }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: "max" }), async (steps) => {
      const flights = createSingleFlight<number, number>();
      // The model: per key the execution under way, and who waits for it.
      const flying = new Map<number, { readonly id: number; readonly gate: PromiseWithResolvers<number>; waiting: Set<number> }>();
      const expected = new Map<number, string>();
      const found = new Map<number, string>();
      const controllers = new Map<number, AbortController>();
      const abandoned: number[] = [];
      let executions = 0;
      for (const [caller, current] of steps.entries()) {
        if (current.do === "run") {
          const controller = new AbortController();
          controllers.set(caller, controller);
          let flight = flying.get(current.key);
          const joins = flight !== undefined;
          if (!flight) flying.set(current.key, (flight = { id: executions, gate: Promise.withResolvers(), waiting: new Set() }));
          flight.waiting.add(caller);
          const { gate, id } = flight;
          flights
            .run(
              current.key,
              (deadline) => {
                assert.equal(joins, false);
                executions++;
                deadline.onAbort(() => abandoned.push(id));
                return gate.promise;
              },
              { signal: controller.signal },
            )
            .then(
              (value) => found.set(caller, `value ${value}`),
              (error: unknown) => found.set(caller, (error as Error).message),
            );
        } else if (current.do === "leave") {
          const waiting = [...flying.values()].flatMap((flight) => [...flight.waiting]);
          if (waiting.length === 0) continue;
          const leaver = waiting[current.which % waiting.length]!;
          controllers.get(leaver)!.abort(new Error("left"));
          expected.set(leaver, "left");
          for (const [key, flight] of flying) {
            if (!flight.waiting.delete(leaver)) continue;
            if (flight.waiting.size === 0) {
              flying.delete(key);
              assert.equal(abandoned.at(-1), flight.id);
            }
          }
        } else {
          const flight = flying.get(current.key);
          if (!flight) continue;
          flying.delete(current.key);
          for (const waiter of flight.waiting) expected.set(waiter, current.well ? `value ${flight.id}` : "failed");
          if (current.well) flight.gate.resolve(flight.id);
          else flight.gate.reject(new Error("failed"));
        }
        for (let i = 0; i < 6; i++) await Promise.resolve();
        assert.deepEqual(new Map([...found].toSorted()), new Map([...expected].toSorted()));
        assert.equal(flights.size, flying.size);
      }
    }),
    { numRuns: 400 },
  );
});
