import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { hashDependencies } from "../../cache/index.ts";
import { dependencyNames } from "../feed.ts";
import { OwnWrites, hashesOf } from "./own-writes.ts";

const table = (name: string) => ({ oid: 1, schema: "public", name });
const reports = hashDependencies([dependencyNames.table("public", "reports")]);
const ofCity = hashDependencies([
  dependencyNames.rows("public", "reports"),
  dependencyNames.row("public", "reports", "city_id", "7"),
]);
const cities = hashDependencies([dependencyNames.table("public", "cities")]);

suite("a write of this process that the feed has not brought yet", () => {
  test("refuses what depends on its table, by value or as a whole, and nothing else", () => {
    const own = new OwnWrites();
    const before = own.order;
    own.acknowledged([table("reports")]);
    assert.equal(own.any, true);
    for (const dependencies of [reports, ofCity]) assert.equal(own.refuses(before, dependencies), true);
    assert.equal(own.refuses(before, cities), false);
    assert.equal(own.refuses(before, new Uint32Array(0)), false);
  });

  test("lets pass what was filled here after it, and nothing from elsewhere", () => {
    const own = new OwnWrites();
    own.acknowledged([table("reports")]);
    assert.equal(own.refuses(own.order, reports), false);
    assert.equal(own.refuses(0, reports), true);
    assert.equal(own.refuses(-own.order, reports), true); // filled on a standby
    const filled = own.order;
    own.acknowledged([table("reports")]);
    assert.equal(own.refuses(filled, reports), true);
  });

  test("is forgotten when it has been delivered, but not a later one", () => {
    const own = new OwnWrites();
    own.acknowledged([table("reports")]);
    const first = own.order;
    own.acknowledged([table("cities")]);
    own.delivered(first);
    assert.equal(own.refuses(0, reports), false);
    assert.equal(own.refuses(0, cities), true);
    own.delivered(own.order);
    assert.equal(own.any, false);
  });

  test("that may have touched anything refuses everything", () => {
    const own = new OwnWrites();
    own.acknowledged("everything");
    assert.equal(own.refuses(0, new Uint32Array(0)), true);
    assert.equal(own.refuses(own.order, reports), false);
    own.delivered(own.order);
    assert.equal(own.refuses(0, reports), false);
  });

  test("stands for its table in a token", () => {
    assert.deepEqual(hashesOf([table("reports")]).subarray(0, 2), reports);
    assert.deepEqual(hashesOf([table("reports")]).subarray(2), ofCity.subarray(0, 2));
    assert.equal(hashesOf("everything").length, 0);
  });
});
