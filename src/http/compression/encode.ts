// The encoders: whole bodies at once (on this thread when they are small, on another when they are not), streams chunk by chunk.
// See docs/compression.md for the measurements.

import type { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream";
import { promisify } from "node:util";
import zlib, { constants } from "node:zlib";
import { compressionDefaults } from "../options.ts";
import type { Coding } from "./negotiate.ts";

export type ContentCoding = Exclude<Coding, "identity">;

const { zstdLevel, brotliQuality, gzipLevel, streamBrotliQuality, hotBrotliQuality } = compressionDefaults;

const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: zstdLevel } };
const brotliOptions = {
  params: { [constants.BROTLI_PARAM_QUALITY]: brotliQuality, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT },
};
const gzipOptions = { level: gzipLevel };

const zstd = promisify<Buffer | string, object, Buffer>(zlib.zstdCompress);
const brotli = promisify<Buffer | string, object, Buffer>(zlib.brotliCompress);
const gzip = promisify<Buffer | string, object, Buffer>(zlib.gzip);

/** Encodes on this thread. */
export function encodeNow(coding: ContentCoding, body: Buffer | string): Buffer {
  switch (coding) {
    case "zstd":
      return zlib.zstdCompressSync(body, zstdOptions);
    case "br":
      return zlib.brotliCompressSync(body, brotliOptions);
    case "gzip":
      return zlib.gzipSync(body, gzipOptions);
    default:
      return coding satisfies never;
  }
}

/** Encodes on a thread of libuv's pool. */
export function encodeElsewhere(coding: ContentCoding, body: Buffer | string): Promise<Buffer> {
  switch (coding) {
    case "zstd":
      return zstd(body, zstdOptions);
    case "br":
      return brotli(body, brotliOptions);
    case "gzip":
      return gzip(body, gzipOptions);
    default:
      return coding satisfies never;
  }
}

/** Brotli at its best, on a thread of libuv's pool: a hundred times the work for an eighth less. */
export const encodeHard = (body: Buffer): Promise<Buffer> =>
  brotli(body, { params: { ...brotliOptions.params, [constants.BROTLI_PARAM_QUALITY]: hotBrotliQuality } });

/** An encoder that passes on what it got with every chunk, so that nothing waits for the end. */
function createEncoder(coding: ContentCoding): Transform {
  switch (coding) {
    case "zstd":
      return zlib.createZstdCompress({ ...zstdOptions, flush: constants.ZSTD_e_flush });
    case "br":
      return zlib.createBrotliCompress({
        params: { ...brotliOptions.params, [constants.BROTLI_PARAM_QUALITY]: streamBrotliQuality },
        flush: constants.BROTLI_OPERATION_FLUSH,
      });
    case "gzip":
      return zlib.createGzip({ ...gzipOptions, flush: constants.Z_SYNC_FLUSH });
    default:
      return coding satisfies never;
  }
}

/**
 * `source`, encoded. Back-pressure reaches the source; a failure of either destroys both, so that what has been sent cannot
 * look complete.
 */
export function encodeStream(coding: ContentCoding, source: Readable): Readable {
  const encoder = createEncoder(coding);
  pipeline(source, encoder, () => {}); // the failure is the encoder's too, where whoever reads it sees it
  return encoder;
}
