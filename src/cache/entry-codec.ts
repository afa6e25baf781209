// Entries as bytes in a shared store: a fixed little-endian header, the hashes of the dependencies, their names, the payload.
// Whatever is not exactly that is a miss: another version, another codec, a flipped bit, a cut end.
//
// | at | bytes | what                                                                                    |
// | -- | ----- | --------------------------------------------------------------------------------------- |
// |  0 | 2     | "Mr"                                                                                    |
// |  2 | 1     | version                                                                                 |
// |  3 | 1     | codec of the payload                                                                    |
// |  4 | 2     | flags: 1 payload is zstd, 2 undefined, 4 null, 8 depends on the clock                   |
// |  6 | 2     | number of dependencies                                                                  |
// |  8 | 4     | CRC-32 of everything else                                                               |
// | 12 | 4     | bytes of the names                                                                      |
// | 16 | 4     | bytes of the payload                                                                    |
// | 20 | 4     | bytes of the payload once it is decompressed                                            |
// | 24 | 8     | generation, a double that is a whole number                                             |
// | 32 | 8     | the number up to which it reflects all writes, likewise                                 |
// | 40 | 8     | when it was made, milliseconds of the wall clock                                        |
// | 48 | 8     | fresh for, milliseconds                                                                 |
// | 56 | 8     | and stale for so many more                                                              |
// | 64 | 8     | how long the fill took, milliseconds                                                    |
// | 72 | 8 × n | hashes: low and high half                                                               |
// |    |       | names, each a 16-bit length and UTF-8; then the payload                                 |

import { promisify } from "node:util";
import { constants, crc32, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from "node:zlib";
import type { EncodedValue } from "./value-codec.ts";

export interface EncodedEntry {
  readonly payload: EncodedValue | "undefined" | "null";
  readonly generation: number;
  readonly upTo: number;
  /** Wall clock. */
  readonly createdMs: number;
  readonly freshForMs: number;
  readonly staleForMs: number;
  readonly computeMs: number;
  readonly timeDependent: boolean;
  readonly dependencies: Uint32Array;
  readonly names: readonly string[];
}

const version = 1;
const headerBytes = 72;
const flags = { zstd: 1, undefined: 2, null: 4, timeDependent: 8 } as const;
const allFlags = 15;

/** Payloads up to it are stored as they are: the compressor's start costs more than their transport. */
const compressFromBytes = 4 * 1024;

/** From here on compressing goes to a thread: it would hold up the process for about half a millisecond. */
const threadFromBytes = 64 * 1024;

/** zstd-3 beats gzip-6 at a third of its time on JSON (docs/compression.md). */
const level = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };

/** Names beyond it are left out: they are for people, the hashes judge. */
const mostNameBytes = 16 * 1024;

const compressInThread = promisify(zstdCompress);
const decompressInThread = promisify(zstdDecompress);

function encodeNames(names: readonly string[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (const name of names) {
    const text = Buffer.from(name, "utf8");
    bytes += 2 + text.length;
    if (text.length > 0xffff || bytes > mostNameBytes) break;
    const length = Buffer.alloc(2);
    length.writeUInt16LE(text.length);
    parts.push(length, text);
  }
  return Buffer.concat(parts);
}

function decodeNames(bytes: Buffer): string[] | undefined {
  const names: string[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + 2 > bytes.length) return undefined;
    const end = at + 2 + bytes.readUInt16LE(at);
    if (end > bytes.length) return undefined;
    names.push(bytes.toString("utf8", at + 2, end));
    at = end;
  }
  return names;
}

/** The bytes of an entry. Compresses when that makes it smaller. */
export async function encodeEntry(entry: EncodedEntry): Promise<Uint8Array> {
  const { payload, dependencies } = entry;
  const raw = typeof payload === "string" ? new Uint8Array(0) : payload.bytes;
  let body = raw;
  if (raw.byteLength > compressFromBytes) {
    const packed = raw.byteLength > threadFromBytes ? await compressInThread(raw, level) : zstdCompressSync(raw, level);
    if (packed.byteLength < raw.byteLength) body = packed;
  }
  const names = encodeNames(entry.names);
  const bytes = Buffer.alloc(headerBytes + dependencies.length * 4 + names.byteLength + body.byteLength);
  bytes.write("Mr", 0, "latin1");
  bytes.writeUInt8(version, 2);
  bytes.writeUInt8(typeof payload === "string" ? 0 : payload.codecId, 3);
  bytes.writeUInt16LE(
    (body === raw ? 0 : flags.zstd) |
      (typeof payload === "string" ? flags[payload] : 0) |
      (entry.timeDependent ? flags.timeDependent : 0),
    4,
  );
  bytes.writeUInt16LE(dependencies.length / 2, 6);
  bytes.writeUInt32LE(names.byteLength, 12);
  bytes.writeUInt32LE(body.byteLength, 16);
  bytes.writeUInt32LE(raw.byteLength, 20);
  bytes.writeDoubleLE(entry.generation, 24);
  bytes.writeDoubleLE(entry.upTo, 32);
  bytes.writeDoubleLE(entry.createdMs, 40);
  bytes.writeDoubleLE(entry.freshForMs, 48);
  bytes.writeDoubleLE(entry.staleForMs, 56);
  bytes.writeDoubleLE(entry.computeMs, 64);
  let at = headerBytes;
  for (const half of dependencies) at = bytes.writeUInt32LE(half, at);
  bytes.set(names, at);
  bytes.set(body, at + names.byteLength);
  bytes.writeUInt32LE(checksum(bytes), 8);
  return bytes;
}

/** Of all bytes but its own. */
const checksum = (bytes: Buffer): number => crc32(bytes.subarray(12), crc32(bytes.subarray(0, 8)));

const isDuration = (ms: number): boolean => ms >= 0 && Number.isFinite(ms);

/**
 * The entry of `bytes`, or undefined when they are none. Never throws. A payload that would decompress to more than `maxBytes` is
 * none.
 */
export async function decodeEntry(given: Uint8Array, maxBytes: number): Promise<EncodedEntry | undefined> {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.byteLength);
  if (bytes.length < headerBytes || bytes.toString("latin1", 0, 2) !== "Mr" || bytes.readUInt8(2) !== version) return undefined;
  const codecId = bytes.readUInt8(3);
  const set = bytes.readUInt16LE(4);
  const count = bytes.readUInt16LE(6);
  const nameBytes = bytes.readUInt32LE(12);
  const bodyBytes = bytes.readUInt32LE(16);
  const rawBytes = bytes.readUInt32LE(20);
  const namesAt = headerBytes + count * 8;
  if (set > allFlags || bytes.length !== namesAt + nameBytes + bodyBytes || rawBytes > maxBytes) return undefined;
  if (bytes.readUInt32LE(8) !== checksum(bytes)) return undefined;
  const [generation, upTo] = [bytes.readDoubleLE(24), bytes.readDoubleLE(32)];
  const [createdMs, freshForMs, staleForMs, computeMs] = [40, 48, 56, 64].map((at) => bytes.readDoubleLE(at)) as [
    number,
    number,
    number,
    number,
  ];
  if (!Number.isSafeInteger(generation) || !Number.isSafeInteger(upTo) || upTo < 0) return undefined;
  if (![createdMs, freshForMs, staleForMs, computeMs].every(isDuration)) return undefined;
  const dependencies = new Uint32Array(count * 2);
  for (let i = 0; i < dependencies.length; i++) dependencies[i] = bytes.readUInt32LE(headerBytes + i * 4);
  const names = decodeNames(bytes.subarray(namesAt, namesAt + nameBytes));
  if (names === undefined) return undefined;
  let payload: EncodedEntry["payload"];
  if (set & flags.undefined) payload = "undefined";
  else if (set & flags.null) payload = "null";
  else {
    const raw = await unpack(bytes.subarray(namesAt + nameBytes), (set & flags.zstd) !== 0, rawBytes);
    if (raw === undefined) return undefined;
    payload = { codecId, bytes: raw };
  }
  const timeDependent = (set & flags.timeDependent) !== 0;
  return { payload, generation, upTo, createdMs, freshForMs, staleForMs, computeMs, timeDependent, dependencies, names };
}

async function unpack(body: Uint8Array, isPacked: boolean, rawBytes: number): Promise<Uint8Array | undefined> {
  if (!isPacked) return body.byteLength === rawBytes ? body : undefined;
  try {
    const bound = { maxOutputLength: Math.max(1, rawBytes) }; // what says that it is small and is not, ends there
    const raw = rawBytes > threadFromBytes ? await decompressInThread(body, bound) : zstdDecompressSync(body, bound);
    return raw.byteLength === rawBytes ? raw : undefined;
  } catch {
    return undefined;
  }
}
