import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createManualClock } from "../core/index.ts";
import { addressRule } from "./addresses.ts";
import { type ResolvedAddress, Resolver } from "./resolver.ts";

suite("addresses", () => {
  test("that are private, local or reserved are refused, in every spelling", () => {
    const isAllowed = addressRule(false);
    for (const address of [
      "0.0.0.0",
      "10.1.2.3",
      "100.64.0.1",
      "127.0.0.1",
      "127.255.255.254",
      "169.254.169.254",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.1.1",
      "198.18.0.1",
      "224.0.0.1",
      "255.255.255.255",
      "::",
      "::1",
      "::ffff:127.0.0.1",
      "::ffff:7f00:1",
      "0:0:0:0:0:ffff:a9fe:a9fe",
      "::127.0.0.1",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      "2001:0:7f00:1::",
      "2001:db8::1",
      "fc00::1",
      "fd12:3456::1",
      "fe80::1",
      "fe80::1%eth0",
      "ff02::1",
      "fec0::1",
      "not an address",
      "",
    ]) {
      assert.equal(isAllowed(address), false, address);
    }
  });

  test("that are public are allowed", () => {
    const isAllowed = addressRule(false);
    for (const address of [
      "1.1.1.1",
      "172.32.0.1",
      "172.15.255.255",
      "93.184.216.34",
      "::ffff:1.1.1.1",
      "2606:4700:4700::1111",
      "2a00:1450::1",
    ]) {
      assert.equal(isAllowed(address), true, address);
    }
  });

  test("can be allowed by range, or all of them", () => {
    const isAllowed = addressRule(["10.1.0.0/16", "fd00::/8", "127.0.0.1"]);
    assert.deepEqual(["10.1.2.3", "10.2.0.1", "fd00::5", "127.0.0.1", "127.0.0.2", "::ffff:10.1.0.1"].map(isAllowed), [
      true,
      false,
      true,
      true,
      false,
      true,
    ]);
    assert.equal(addressRule(true)("127.0.0.1"), true);
    assert.throws(() => addressRule(["ten"]));
  });
});

suite("a resolver", () => {
  const make = (answers: (readonly string[] | Error)[]) => {
    const clock = createManualClock();
    let asked = 0;
    const resolver = new Resolver({
      clock,
      ttlMs: 10_000,
      isAllowed: addressRule(false),
      resolve: async (): Promise<ResolvedAddress[]> => {
        const answer = answers[Math.min(asked++, answers.length - 1)]!;
        if (answer instanceof Error) throw answer;
        return answer.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
      },
    });
    const ask = async () => (await resolver.addressesOf("api.test")).map(({ address }) => address);
    return { clock, resolver, ask, asked: () => asked };
  };

  test("asks once for all who ask at the same time, and again when the answer is old", async () => {
    const { clock, ask, asked } = make([["1.1.1.1"], ["1.0.0.1"]]);
    assert.deepEqual(await Promise.all([ask(), ask()]), [["1.1.1.1"], ["1.1.1.1"]]);
    clock.advance(9_999);
    assert.deepEqual(await ask(), ["1.1.1.1"]);
    assert.equal(asked(), 1);
    clock.advance(1);
    assert.deepEqual(await ask(), ["1.0.0.1"]);
  });

  test("keeps the last answer while the DNS fails", async () => {
    const { clock, ask } = make([["1.1.1.1"], new Error("SERVFAIL"), ["1.0.0.1"]]);
    await ask();
    clock.advance(10_000);
    assert.deepEqual(await ask(), ["1.1.1.1"]);
    assert.deepEqual(await ask(), ["1.0.0.1"]);
    await assert.rejects(make([new Error("SERVFAIL")]).ask(), /SERVFAIL/);
  });

  test("refuses a name that leads, or comes to lead, where it must not, even beside a good address", async () => {
    await assert.rejects(make([["1.1.1.1", "127.0.0.1"]]).ask(), { code: "MILLRACE_UPSTREAM_ADDRESS_REFUSED" });
    const { clock, ask } = make([["1.1.1.1"], ["169.254.169.254"]]);
    await ask();
    clock.advance(10_000);
    await assert.rejects(ask(), {
      code: "MILLRACE_UPSTREAM_ADDRESS_REFUSED",
      details: { host: "api.test", address: "169.254.169.254" },
    });
  });
});
