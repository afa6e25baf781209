import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { databaseErrors } from "../errors.ts";
import { orderByText, parseOrder, reversed } from "./order.ts";

const refused = (orderBy: readonly string[]) =>
  assert.throws(
    () => parseOrder(orderBy),
    (error) => databaseErrors.is(error, "MILLRACE_KEYSET_ORDER_INVALID"),
  );

describe("the order of a keyset page", () => {
  it("puts NULLs where PostgreSQL puts them unless told otherwise", () => {
    assert.equal(
      parseOrder(["a", "b desc", "c asc nulls first", "d desc nulls last"]).signature,
      "a asc nulls last, b desc nulls first, c asc nulls first, d desc nulls last",
    );
  });

  it("has one signature however it is written", () => {
    assert.equal(parseOrder(["  a  ASC Nulls LAST ", "b DESC"]).signature, parseOrder(["a", "b desc nulls first"]).signature);
  });

  it("keeps the case of names, which it quotes", () => {
    assert.equal(orderByText(parseOrder(["createdAt desc", "id"]).columns, "q"), 'q."createdAt" desc, q."id"');
  });

  it("turns every direction and every place of NULLs round", () => {
    const { columns } = parseOrder(["a", "b desc", "c nulls first", "d desc nulls last"]);
    assert.equal(orderByText(reversed(columns), "q"), 'q."a" desc, q."b", q."c" desc nulls last, q."d" nulls first');
    assert.deepEqual(reversed(reversed(columns)), columns);
  });

  it("refuses what is not a column and a direction", () => {
    for (const entry of ["", "a;", 'a"', "a b", "a desc asc", "lower(a)", "a.b", "1", "a nulls", "a desc nulls middle", "a, b"])
      refused([entry]);
  });

  it("refuses no column, too many and the same twice", () => {
    refused([]);
    refused(["a", "a desc"]);
    refused(Array.from({ length: 9 }, (_, i) => `c${i}`));
  });
});
