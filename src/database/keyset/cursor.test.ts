import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { databaseErrors } from "../errors.ts";
import { type Position, cursorKey, maxCursorLength, readCursor, writeCursor } from "./cursor.ts";

const key = cursorKey("a secret of thirty-two characters");
const list = { order: "name asc nulls last, id asc nulls last", scope: "/cities" };
const position: Position = { backward: false, values: ["Køge", "2618415"] };
const cursor = writeCursor(key, list, position);

const refusal = (text: string, code: keyof typeof databaseErrors.table, from = list, by = key) =>
  assert.throws(
    () => readCursor(by, from, text),
    (error) => databaseErrors.is(error, code),
    text,
  );

describe("a cursor", () => {
  it("gives back the position that it was written from", () => {
    const value = fc.option(fc.string({ unit: "binary", maxLength: 60 }), { nil: null });
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.option(fc.array(value, { minLength: 1, maxLength: 4 }), { nil: undefined }),
        (backward, values) => {
          assert.deepEqual(readCursor(key, list, writeCursor(key, list, { backward, values })), { backward, values });
        },
      ),
    );
  });

  it("is a word that needs no escaping in a URL", () => {
    assert.match(cursor, /^[A-Za-z0-9_-]+$/);
  });

  it("is refused after any change of a character", () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ %\0é";
    const change = fc.tuple(fc.nat(cursor.length - 1), fc.constantFrom(...alphabet));
    fc.assert(
      fc.property(change, ([at, character]) => {
        fc.pre(cursor[at] !== character);
        const changed = cursor.slice(0, at) + character + cursor.slice(at + 1);
        assert.throws(
          () => readCursor(key, list, changed),
          (error) =>
            databaseErrors.is(error, "MILLRACE_CURSOR_INVALID") || (at < 2 && databaseErrors.is(error, "MILLRACE_CURSOR_OUTDATED")),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it("is refused when it is cut, extended, doubled, empty or not a cursor at all", () => {
    for (let length = 0; length < cursor.length; length++) refusal(cursor.slice(0, length), "MILLRACE_CURSOR_INVALID");
    for (const text of [`${cursor}A`, `${cursor}=`, ` ${cursor}`, cursor + cursor, "null", "1' or '1'='1"])
      refusal(text, "MILLRACE_CURSOR_INVALID");
  });

  it("is refused for being long before it is decoded", () => {
    refusal("A".repeat(maxCursorLength + 1), "MILLRACE_CURSOR_INVALID");
    refusal("A".repeat(100_000_000), "MILLRACE_CURSOR_INVALID");
  });

  it("is refused by another secret", () => {
    refusal(cursor, "MILLRACE_CURSOR_INVALID", list, cursorKey("another secret of thirty-two chars"));
  });

  it("is refused in another order and another scope", () => {
    refusal(cursor, "MILLRACE_CURSOR_FOREIGN", { ...list, order: "name desc nulls first, id asc nulls last" });
    refusal(cursor, "MILLRACE_CURSOR_FOREIGN", { ...list, scope: "/cities/1/reports" });
    refusal(cursor, "MILLRACE_CURSOR_FOREIGN", { order: list.order.slice(0, -1), scope: list.order.slice(-1) + list.scope });
  });

  it("says that it is of another version when it is", () => {
    const bytes = Buffer.from(cursor, "base64url");
    bytes[0] = 0;
    refusal(bytes.toString("base64url"), "MILLRACE_CURSOR_OUTDATED");
  });

  it("is not written when its values are too long for a URL", () => {
    assert.throws(
      () => writeCursor(key, list, { backward: false, values: ["x".repeat(2_000)] }),
      (error) => databaseErrors.is(error, "MILLRACE_KEYSET_VALUE_TOO_LONG"),
    );
  });
});
