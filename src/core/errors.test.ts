import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { coreErrors } from "./error-table.ts";
import { MillraceError, defineErrors } from "./errors.ts";

// #region errors
const millErrors = defineErrors({
  MILLRACE_MILL_DRY: {
    when: "There is too little water to turn the wheel.",
    next: "Open the sluice, or wait for rain.",
    retryable: true,
    message: (d: { levelCm: number }) => `The water stands at ${d.levelCm} cm, too low for the wheel. Open the sluice.`,
  },
  MILLRACE_MILL_JAMMED: {
    when: "Something holds the wheel.",
    next: "Remove it.",
    retryable: false,
    message: () => "Something holds the wheel. Remove it.",
  },
});
// #endregion

suite("an error", () => {
  test("has a code, a message made of its details, the details, and whether trying again may help", () => {
    const cause = new Error("no rain");
    const error = millErrors.create("MILLRACE_MILL_DRY", { levelCm: 12 }, cause);
    assert.ok(error instanceof MillraceError && error instanceof Error);
    assert.equal(error.name, "MillraceError");
    assert.equal(error.code, "MILLRACE_MILL_DRY");
    assert.equal(error.message, "The water stands at 12 cm, too low for the wheel. Open the sluice.");
    assert.deepEqual(error.details, { levelCm: 12 });
    assert.equal(error.retryable, true);
    assert.equal(error.cause, cause);
    assert.equal(millErrors.create("MILLRACE_MILL_JAMMED", {}).retryable, false);
  });

  test("without a cause has none, not an undefined one", () => {
    assert.equal("cause" in millErrors.create("MILLRACE_MILL_JAMMED", {}), false);
    assert.equal("cause" in new MillraceError("MILLRACE_X", "x"), false);
  });

  test("made by hand is not retryable and has no details", () => {
    const error = new MillraceError("MILLRACE_X", "x");
    assert.equal(error.retryable, false);
    assert.deepEqual(error.details, {});
  });
});

suite("a catalog", () => {
  test("knows its own errors, all or by code", () => {
    const error = millErrors.create("MILLRACE_MILL_DRY", { levelCm: 12 });
    assert.ok(millErrors.is(error));
    assert.ok(millErrors.is(error, "MILLRACE_MILL_DRY"));
    assert.equal(millErrors.is(error, "MILLRACE_MILL_JAMMED"), false);
    assert.equal(coreErrors.is(error), false);
  });

  test("does not take others' errors for its own because of their code", () => {
    assert.equal(millErrors.is(Object.assign(new Error("x"), { code: "MILLRACE_MILL_DRY" })), false);
    assert.equal(millErrors.is(new MillraceError("toString", "x")), false);
    for (const value of [undefined, null, "MILLRACE_MILL_DRY", { code: "MILLRACE_MILL_DRY" }])
      assert.equal(millErrors.is(value), false);
  });
});
