// Values as bytes: bytes and text as they are, everything else by the structured clone algorithm, so that Dates, Maps and BigInts
// come back as what they were. Numbers below 16 are ours; they are part of the format of stored entries.

import { deserialize, serialize } from "node:v8";
import type { Codec } from "./cache.ts";

export const codecIds = { bytes: 1, buffer: 2, utf8: 3, utf16: 4, clone: 5 } as const;

export interface EncodedValue {
  readonly codecId: number;
  readonly bytes: Uint8Array;
}

/** @throws what the codec throws, or structured clone: the value cannot be stored. */
export function encodeValue(value: unknown, codec: Codec<unknown> | undefined): EncodedValue {
  if (codec) return { codecId: codec.id, bytes: codec.encode(value) };
  if (typeof value === "string") {
    // UTF-8 has no lone surrogates: they would come back as question marks.
    return value.isWellFormed()
      ? { codecId: codecIds.utf8, bytes: Buffer.from(value, "utf8") }
      : { codecId: codecIds.utf16, bytes: Buffer.from(value, "utf16le") };
  }
  if (Buffer.isBuffer(value)) return { codecId: codecIds.buffer, bytes: value };
  if (value instanceof Uint8Array) return { codecId: codecIds.bytes, bytes: value };
  return { codecId: codecIds.clone, bytes: serialize(value) };
}

/** @throws when the bytes are not what the codec makes, or are of a codec that is not there. */
export function decodeValue(codecId: number, bytes: Uint8Array, codec: Codec<unknown> | undefined): unknown {
  if (codecId === codec?.id) return codec.decode(bytes);
  if (codec) throw new Error(`codec ${codecId} is not ${codec.id}`);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (codecId) {
    case codecIds.bytes:
      return new Uint8Array(bytes); // a copy: the bytes around it would live as long
    case codecIds.buffer: {
      const copy = Buffer.allocUnsafeSlow(bytes.byteLength); // not of Buffer's pool, for the same reason
      copy.set(bytes);
      return copy;
    }
    case codecIds.utf8:
      return buffer.toString("utf8");
    case codecIds.utf16:
      return buffer.toString("utf16le");
    case codecIds.clone:
      return deserialize(buffer);
    default:
      throw new Error(`codec ${codecId} is not known`);
  }
}
