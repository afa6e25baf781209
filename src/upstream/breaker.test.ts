import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type ManualClock, createManualClock } from "../core/index.ts";
import { Breaker, type BreakerOptions, type BreakerState, type Ticket } from "./breaker.ts";

const options = {
  failureRatio: 0.5,
  minimumCalls: 10,
  windowMs: 10_000,
  openMs: 2_000,
  maxOpenMs: 8_000,
  probes: 5,
  probeSuccessRatio: 0.8,
} as const;

function make(given: BreakerOptions = options): { clock: ManualClock; breaker: Breaker; states: BreakerState[] } {
  const clock = createManualClock();
  const states: BreakerState[] = [];
  return { clock, states, breaker: new Breaker(given, clock, (state) => states.push(state)) };
}

/** As little as possible between the states, so that random steps visit all of them again and again. */
const nervous: BreakerOptions = { ...options, minimumCalls: 3, openMs: 500, maxOpenMs: 1_000 };

function fail(breaker: Breaker, times: number): void {
  for (let i = 0; i < times; i++) breaker.admit()!.report(false);
}

suite("a breaker", () => {
  test("opens when half of enough calls fail, and not of fewer", () => {
    const { breaker } = make();
    fail(breaker, 9);
    assert.equal(breaker.state, "closed");
    fail(breaker, 1);
    assert.equal(breaker.state, "open");
    assert.equal(breaker.admit(), undefined);
    assert.equal(breaker.retryAfterMs, 2_000);
  });

  test("forgets what has left the window", () => {
    const { breaker, clock } = make();
    fail(breaker, 9);
    clock.advance(11_000);
    fail(breaker, 9);
    assert.equal(breaker.state, "closed");
    clock.advance(5_000);
    fail(breaker, 1);
    assert.equal(breaker.state, "open");
  });

  test("closes when four of five probes succeed", () => {
    const { breaker, clock, states } = make();
    fail(breaker, 10);
    clock.advance(2_000);
    const probes = Array.from({ length: 5 }, () => breaker.admit()!);
    assert.equal(breaker.state, "half-open");
    assert.equal(breaker.admit(), undefined, "no more than five");
    probes[0]!.report(false);
    for (const probe of probes.slice(1, 4)) probe.report(true);
    assert.equal(breaker.state, "half-open");
    probes[4]!.report(true);
    assert.equal(breaker.state, "closed");
    assert.deepEqual(states, ["open", "half-open", "closed"]);
    fail(breaker, 9);
    assert.equal(breaker.state, "closed", "with an empty window");
  });

  test("opens for longer when probes fail, up to a bound, and for the first length again after it was well", () => {
    const { breaker, clock } = make();
    fail(breaker, 10);
    for (const openMs of [2_000, 4_000, 8_000, 8_000]) {
      clock.advance(openMs - 1);
      assert.equal(breaker.admit(), undefined);
      clock.advance(1);
      fail(breaker, 2);
      assert.equal(breaker.state, "open");
    }
    clock.advance(8_000);
    for (let i = 0; i < 4; i++) breaker.admit()!.report(true);
    assert.equal(breaker.state, "closed");
    fail(breaker, 10);
    assert.equal(breaker.retryAfterMs, 2_000);
  });

  test("ignores what calls of an earlier state report, and a second report", () => {
    const { breaker, clock } = make();
    const old = Array.from({ length: 20 }, () => breaker.admit()!);
    fail(breaker, 10);
    clock.advance(2_000);
    const probe = breaker.admit()!;
    for (const [i, ticket] of old.entries()) ticket.report(i % 2 === 0);
    assert.equal(breaker.state, "half-open", "what the time before did neither closes it nor opens it");
    probe.report(true);
    probe.report(true);
    probe.giveBack();
    for (let i = 0; i < 2; i++) breaker.admit()!.report(true);
    assert.equal(breaker.state, "half-open", "three have succeeded, not four");
    breaker.admit()!.report(true);
    assert.equal(breaker.state, "closed");
  });

  test("ignores probes of an earlier half-open, and calls of an earlier closed", () => {
    const { breaker, clock } = make();
    const early = Array.from({ length: 20 }, () => breaker.admit()!);
    fail(breaker, 10);
    clock.advance(2_000);
    const lost = Array.from({ length: 5 }, () => breaker.admit()!);
    clock.advance(2_000);
    const probe = breaker.admit()!;
    for (const ticket of lost) ticket.report(false);
    assert.equal(breaker.state, "half-open");
    probe.report(true);
    for (let i = 0; i < 3; i++) breaker.admit()!.report(true);
    assert.equal(breaker.state, "closed");
    for (const ticket of early) ticket.report(false);
    assert.equal(breaker.state, "closed");
  });

  test("does not wedge when its probes never report", () => {
    const { breaker, clock } = make();
    fail(breaker, 10);
    for (let round = 0; round < 5; round++) {
      clock.advance(2_000);
      const probes = Array.from({ length: 5 }, () => breaker.admit());
      assert.ok(
        probes.every((probe) => probe !== undefined),
        `round ${round}`,
      );
      assert.equal(breaker.admit(), undefined);
    }
    clock.advance(2_000);
    for (let i = 0; i < 4; i++) breaker.admit()!.report(true);
    assert.equal(breaker.state, "closed");
  });

  test("gives the place of a probe that tells nothing to another", () => {
    const { breaker, clock } = make();
    fail(breaker, 10);
    clock.advance(2_000);
    for (let i = 0; i < 20; i++) breaker.admit()!.giveBack();
    assert.ok(breaker.admit());
  });
});

test("in any order of calls, reports and time a breaker is where the model says, and never stays shut", () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.constant({ do: "admit" as const }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("report" as const), which: fc.nat(30), good: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("back" as const), which: fc.nat(30) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), tenths: fc.integer({ min: 1, max: 40 }) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const { breaker, clock } = make(nervous);
      // The model keeps every report with its time, and names each state's visit by a number.
      let state = "closed" as BreakerState;
      let visit = 0;
      let sinceMs = 0;
      let openMs = nervous.openMs;
      let reports: { readonly atMs: number; readonly good: boolean }[] = [];
      let out = 0;
      const enter = (next: BreakerState) => {
        state = next;
        visit++;
        sinceMs = clock.monotonic();
        reports = [];
        out = 0;
      };
      const tickets: { readonly ticket: Ticket; readonly visit: number; used: boolean }[] = [];
      for (const current of steps) {
        if (current.do === "wait") {
          clock.advance(current.tenths * 100);
        } else if (current.do === "admit") {
          const ticket = breaker.admit();
          if (state !== "closed" && clock.monotonic() - sinceMs >= openMs) enter("half-open");
          const may: boolean = state === "closed" || (state === "half-open" && out + reports.length < nervous.probes);
          assert.equal(ticket !== undefined, may);
          if (ticket) {
            tickets.push({ ticket, visit, used: false });
            if (state === "half-open") out++;
          }
        } else if (tickets.length > 0) {
          const one = tickets[current.which % tickets.length]!;
          const counts = !one.used && one.visit === visit;
          one.used = true;
          if (current.do === "back") {
            one.ticket.giveBack();
            if (counts && state === "half-open") out--;
          } else {
            one.ticket.report(current.good);
            if (counts) {
              if (state === "half-open") out--;
              reports.push({ atMs: clock.monotonic(), good: current.good });
              if (state === "closed") {
                const tenth = nervous.windowMs / 10;
                const now = Math.floor(clock.monotonic() / tenth);
                const recent = reports.filter(({ atMs }) => now - Math.floor(atMs / tenth) < 10);
                const bad = recent.filter(({ good }) => !good).length;
                if (!current.good && recent.length >= nervous.minimumCalls && bad >= nervous.failureRatio * recent.length)
                  enter("open");
              } else if (reports.filter(({ good }) => good).length >= 4) {
                openMs = nervous.openMs;
                enter("closed");
              } else if (reports.filter(({ good }) => !good).length >= 2) {
                openMs = Math.min(openMs * 2, nervous.maxOpenMs);
                enter("open");
              }
            }
          }
        }
        assert.equal(breaker.state, state);
      }
      // Whatever has happened: who waits long enough and succeeds gets it closed.
      clock.advance(nervous.maxOpenMs);
      for (let i = 0; i < nervous.probes && breaker.state !== "closed"; i++) breaker.admit()!.report(true);
      if (state !== "closed") assert.equal(breaker.state, "closed");
    }),
    { numRuns: 600 },
  );
});
