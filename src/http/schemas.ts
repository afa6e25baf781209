// Schemas that an API of lists needs: a page of something, the query that asks for one, and bytes that are no JSON.
// See docs/endpoints.md and docs/keyset-pages.md.

import type { Readable } from "node:stream";
import {
  type TInteger,
  type TNull,
  type TObject,
  type TArray,
  type TOptional,
  type TSchema,
  type TString,
  type TUnion,
  type TUnsafe,
  Type,
} from "typebox";

/** `{ "data": [...], "page": { "next": cursor|null, "previous": cursor|null } }` */
export type TPage<Item extends TSchema> = TObject<{
  data: TArray<Item>;
  page: TObject<{ next: TUnion<[TString, TNull]>; previous: TUnion<[TString, TNull]> }>;
}>;

/** The response schema of a keyset page, as db.page() returns it. */
export function page<Item extends TSchema>(item: Item): TPage<Item> {
  return Type.Object({
    data: Type.Array(item),
    page: Type.Object({
      next: Type.Union([Type.String(), Type.Null()], { description: "Cursor of the page that follows; null at the end." }),
      previous: Type.Union([Type.String(), Type.Null()], { description: "Cursor of the page before; null at the beginning." }),
    }),
  });
}

/** Where a query record carries its order. */
export const keysetOrder: unique symbol = Symbol("millrace.keysetOrder");

export interface KeysetOptions {
  /** As in KeysetRequest: most significant first, together unique. */
  readonly orderBy: readonly string[];
  /** The largest `limit` that a client may ask for. Range 1 to 10,000. */
  readonly max: number;
  /** The `limit` of a request that names none. Default: 20, or `max` when that is less. */
  readonly default?: number;
}

/** The query of a list: `limit` and `cursor`, and the order that db.page() needs. */
export type KeysetQuery = {
  readonly limit: TInteger;
  readonly cursor: TOptional<TString>;
  readonly [keysetOrder]: readonly string[];
};

/** Twenty: a screen of rows. */
const defaultLimit = 20;
/** As long as a cursor gets with eight text columns; longer ones are not ours. */
const maxCursorLength = 8_192;

/**
 * Query properties of a list in keyset pages: `query: keyset({ orderBy: ["created_at desc", "id desc"], max: 100 })`, or spread
 * among others. The handler's `query` is then what db.page() takes.
 * @throws RangeError when max or default are out of range
 */
export function keyset(options: KeysetOptions): KeysetQuery {
  const { max } = options;
  const limit = options.default ?? Math.min(defaultLimit, max);
  if (!Number.isInteger(max) || max < 1 || max > 10_000)
    throw new RangeError(`keyset: max is ${max}, expected a whole number from 1 to 10000.`);
  if (!Number.isInteger(limit) || limit < 1 || limit > max)
    throw new RangeError(`keyset: default is ${limit}, expected a whole number from 1 to ${max}.`);
  return Object.freeze({
    limit: Type.Integer({ minimum: 1, maximum: max, default: limit, description: "How many rows the page has at the most." }),
    cursor: Type.Optional(
      Type.String({ minLength: 1, maxLength: maxCursorLength, description: "`page.next` or `page.previous` of another page." }),
    ),
    [keysetOrder]: Object.freeze([...options.orderBy]),
  });
}

/** The JSON Schema extension under which a response says which content types its bytes have. */
export const contentTypesKeyword = "x-content-types";

/** The response schema of an endpoint that answers with bytes instead of JSON: a stream, a buffer or a text. */
export function bytes(...contentTypes: readonly [string, ...string[]]): TUnsafe<Readable | Uint8Array | string> {
  return Type.Unsafe<Readable | Uint8Array | string>({ type: "string", format: "binary", [contentTypesKeyword]: contentTypes });
}
