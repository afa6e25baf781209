// A keyset cursor: where a page ended, as an opaque word that only this service can have made. See docs/keyset-pages.md.
//
//   base64url( version 1 byte | kind 1 byte | list 6 bytes | values, JSON in UTF-8 | HMAC-SHA-256, first 16 bytes )
//
// `list` is a digest of the order and the scope. The values are PostgreSQL's own text, so nothing is lost on the way. They are
// signed, not encrypted: whoever gets a cursor has seen the row that it was made from.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { databaseErrors } from "../errors.ts";

/** Raised when the layout changes, or what the values mean. Cursors of another version are refused as such. */
const version = 1;

const headBytes = 8;
/** 128 bits, the shortest truncation that NIST SP 800-107 has no reservation about at any number of tries. */
const macBytes = 16;
/** Fits any URL beside the rest of the query, and bounds what is decoded and hashed for a stranger. */
export const maxCursorLength = 2_048;

/** A place in a list, and the direction in which the page lies from there. */
export interface Position {
  readonly backward: boolean;
  /** PostgreSQL's text of each order column of the row at the edge; undefined: the start of the list, or its end when backward. */
  readonly values: readonly (string | null)[] | undefined;
}

/** What a cursor belongs to: it is refused anywhere else. */
export interface CursorList {
  /** The canonical spelling of the order. */
  readonly order: string;
  /** What else the list depends on; the HTTP layer passes the path. */
  readonly scope: string;
}

/** A key for cursors alone, so that the secret may serve other purposes too. */
export const cursorKey = (secret: string | Uint8Array): Buffer =>
  createHmac("sha256", secret).update("millrace keyset cursor").digest();

const listDigest = (list: CursorList): Buffer =>
  createHash("sha256").update(`${list.order.length}:${list.order}${list.scope}`).digest().subarray(0, 6);

const macOf = (key: Uint8Array, body: Uint8Array): Buffer => createHmac("sha256", key).update(body).digest().subarray(0, macBytes);

/**
 * Writes a cursor.
 * @throws MILLRACE_KEYSET_VALUE_TOO_LONG when the values make it longer than 2,048 characters
 */
export function writeCursor(key: Uint8Array, list: CursorList, position: Position): string {
  const kind = (position.backward ? 1 : 0) | (position.values === undefined ? 2 : 0);
  const values = position.values === undefined ? "" : JSON.stringify(position.values);
  const body = Buffer.concat([Buffer.from([version, kind]), listDigest(list), Buffer.from(values)]);
  const cursor = Buffer.concat([body, macOf(key, body)]).toString("base64url");
  if (cursor.length > maxCursorLength) {
    throw databaseErrors.create("MILLRACE_KEYSET_VALUE_TOO_LONG", {
      order: list.order,
      length: cursor.length,
      max: maxCursorLength,
    });
  }
  return cursor;
}

/**
 * Reads a cursor that a stranger sent.
 * @throws MILLRACE_CURSOR_INVALID, MILLRACE_CURSOR_OUTDATED, MILLRACE_CURSOR_FOREIGN
 */
export function readCursor(key: Uint8Array, list: CursorList, cursor: string): Position {
  if (cursor.length > maxCursorLength) throw databaseErrors.create("MILLRACE_CURSOR_INVALID", { reason: "it is too long" });
  const bytes = Buffer.from(cursor, "base64url");
  // Node skips what is not base64url; only the one spelling that writeCursor gives is accepted.
  if (bytes.length < headBytes + macBytes || bytes.toString("base64url") !== cursor) {
    throw databaseErrors.create("MILLRACE_CURSOR_INVALID", { reason: "it is not a cursor" });
  }
  if (bytes[0] !== version) throw databaseErrors.create("MILLRACE_CURSOR_OUTDATED", { reason: "it was made by another version" });
  const body = bytes.subarray(0, -macBytes);
  if (!timingSafeEqual(macOf(key, body), bytes.subarray(-macBytes))) {
    throw databaseErrors.create("MILLRACE_CURSOR_INVALID", { reason: "its signature is not ours" });
  }
  if (!body.subarray(2, headBytes).equals(listDigest(list))) throw databaseErrors.create("MILLRACE_CURSOR_FOREIGN", {});
  const kind = body[1]!;
  // Signed by us, so it is what writeCursor wrote.
  const values = (kind & 2) === 0 ? (JSON.parse(body.toString("utf8", headBytes)) as (string | null)[]) : undefined;
  return { backward: (kind & 1) === 1, values };
}
