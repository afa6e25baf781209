// 20 KB of JSON: what makes it, and what compresses it. In process, on the thread that would serve.

import { promisify } from "node:util";
import { brotliCompress, brotliCompressSync, constants, gzip, gzipSync, zstdCompress, zstdCompressSync } from "node:zlib";
import fastJson from "fast-json-stringify";
import { type Samples, interleave, median, printTable } from "../harness/rounds.ts";
import type { BenchOptions } from "../harness/options.ts";

const syllables = [
  "san",
  "ta",
  "ber",
  "li",
  "rey",
  "kja",
  "vík",
  "ulan",
  "são",
  "pau",
  "mün",
  "chen",
  "lon",
  "don",
  "go",
  "ra",
  "ne",
  "shi",
  "wa",
  "mo",
];

/** The same "random" numbers in every run (Lehmer's generator), so that lists of real cities are no tidier than this. */
function* randomNumbers(): Generator<number, never> {
  for (let state = 20_260_101; ; state = (state * 48_271) % 2_147_483_647) yield state / 2_147_483_647;
}

const numbers = randomNumbers();
const random = (below: number): number => numbers.next().value * below;
const syllable = (): string => syllables[Math.floor(random(syllables.length))]!;

const cities = Array.from({ length: 110 }, (_, i) => ({
  id: 1 + Math.floor(random(138_398)),
  name: `${syllable()}${syllable()}${syllable()} ${syllable()}${syllable()}`,
  country: String.fromCharCode(65 + random(26), 65 + random(26)),
  latitude: Number((random(180) - 90).toFixed(5)),
  longitude: Number((random(360) - 180).toFixed(5)),
  population: Math.floor(1_000_000 / (i + 1) + random(900)),
  timezone: `Europe/${syllable()}${syllable()}`,
  observedAt: new Date(Date.UTC(2026, 0, 1) + Math.floor(random(1e10))).toISOString(),
}));
const list = { data: cities, page: { next: "eyJ2IjoxLCJvIjoicG9wdWxhdGlvbiBkZXNjIn0.c2lnbmF0dXJl", previous: null } };

const stringifyBySchema = fastJson({
  type: "object",
  properties: {
    data: {
      type: "array",
      items: {
        type: "object",
        properties: {
          id: { type: "integer" },
          name: { type: "string" },
          country: { type: "string" },
          latitude: { type: "number" },
          longitude: { type: "number" },
          population: { type: "integer" },
          timezone: { type: "string" },
          observedAt: { type: "string" },
        },
      },
    },
    page: {
      type: "object",
      properties: { next: { type: "string", nullable: true }, previous: { type: "string", nullable: true } },
    },
  },
});

const text = JSON.stringify(list);
const bytes = Buffer.from(text);
const brotli = (quality: number) => ({
  params: { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
});
const zstd = (level: number) => ({ params: { [constants.ZSTD_c_compressionLevel]: level } });

const gzipAsync = promisify(gzip);
const brotliAsync = promisify(brotliCompress);
const zstdAsync = promisify(zstdCompress);

type Work = () => { readonly length: number } | Promise<{ readonly length: number }>;

/** What is measured: the result's length is part of the table, and keeps the work from being optimised away. */
const works: Record<string, Work> = {
  "JSON.stringify": () => JSON.stringify(list),
  "fast-json-stringify": () => stringifyBySchema(list),
  "JSON.stringify + Buffer.from": () => Buffer.from(JSON.stringify(list)),
  "zstd-1 sync": () => zstdCompressSync(bytes, zstd(1)),
  "zstd-3 sync": () => zstdCompressSync(bytes, zstd(3)),
  "br-1 sync": () => brotliCompressSync(bytes, brotli(1)),
  "br-4 sync": () => brotliCompressSync(bytes, brotli(4)),
  "gzip-1 sync": () => gzipSync(bytes, { level: 1 }),
  "gzip-6 sync": () => gzipSync(bytes, { level: 6 }),
  "zstd-3 async": () => zstdAsync(bytes, zstd(3)),
  "br-4 async": () => brotliAsync(bytes, brotli(4)),
  "gzip-6 async": () => gzipAsync(bytes, { level: 6 }),
};

const slice = 300;

/**
 * Microseconds per call: until the result is there, and of this thread's processor time where the platform tells (async work is
 * done by others, but handing it over and back costs this thread as well).
 */
export async function run({ rounds = 9, only }: BenchOptions): Promise<unknown> {
  const busy = new Map<string, number[]>();
  const sizes = new Map<string, number>();
  const candidates = [];
  for (const [name, work] of Object.entries(works)) {
    if (only && !only.includes(name)) continue;
    busy.set(name, []);
    for (let i = 0; i < slice; i++) await work();
    sizes.set(name, Buffer.byteLength((await work()) as unknown as string | Buffer));
    candidates.push({
      name,
      async measure() {
        const cpu = process.threadCpuUsage();
        const startedMs = performance.now();
        for (let i = 0; i < slice; i++) {
          const result = work();
          if (result instanceof Promise) await result;
        }
        const micros = ((performance.now() - startedMs) * 1000) / slice;
        const { user, system } = process.threadCpuUsage(cpu);
        busy.get(name)!.push((user + system) / slice);
        return micros;
      },
    });
  }
  const samples: Samples[] = await interleave(candidates, rounds);
  const stringify = samples.find(({ name }) => name === "JSON.stringify");
  printTable(
    ["", "µs until done: min", "median", "max", "µs of this thread", "bytes", "to JSON.stringify"],
    samples.map(({ name, values }) => [
      name,
      Math.min(...values).toFixed(0),
      median(values).toFixed(0),
      Math.max(...values).toFixed(0),
      median(busy.get(name)!).toFixed(0),
      String(sizes.get(name)),
      stringify ? `× ${median(values.map((value, round) => value / stringify.values[round]!)).toFixed(2)}` : "–",
    ]),
  );
  return { micros: samples, threadMicros: Object.fromEntries(busy), bytes: Object.fromEntries(sizes) };
}
