// The options of staticFiles(), their checks, and every default in one literal with its reason.

import {
  type Clock,
  type Duration,
  type OptionCheck,
  type OptionChecks,
  duration,
  given,
  integer,
  systemClock,
} from "../../core/index.ts";

/** See docs/static-files.md. */
export interface StaticFilesOptions {
  /** Whose files are served. Names that begin with a dot, and links, are not. */
  readonly directory: URL | string;
  /** Below which path: "/assets/". It begins and ends with a slash. */
  readonly prefix: string;
  /** HTML files that are pages, by their paths: `{ "/": "index.html" }`. They are not served below the prefix. Default: none. */
  readonly pages?: Readonly<Record<string, string>> | undefined;
  /**
   * Content-Security-Policy of the pages. `scripts`: what script-src needs beside 'self' for the import map of the page; empty when it has
   * none. Default: a page may load everything from its own server, run the scripts of its files, and nothing else.
   */
  readonly contentSecurityPolicy?: ((scripts: string) => string) | undefined;
  /** How soon a change in the directory shows. "0s": with the next request. Default "1s". */
  readonly checkEvery?: Duration | undefined;
  /** Folders below the directory that are served: with 0 those of the directory itself only. Default 3. */
  readonly depth?: number | undefined;
  /** Files at the most; more are an error. Default 10,000. */
  readonly maxFiles?: number | undefined;
  /** Files up to this size are held in memory, with their encoded forms; larger ones are streamed as they are. Default 1 MiB. */
  readonly maxHeldFileBytes?: number | undefined;
  /** What is held at the most, in bytes. Default 32 MiB. */
  readonly maxHeldBytes?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** Everything from the own server; the page's scripts are files, or the import map. No plugins, no frames, no base. */
const ownOnly = (scripts: string): string =>
  [
    "default-src 'none'",
    `script-src 'self'${scripts && ` ${scripts}`}`,
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "media-src 'self'",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");

export const staticFilesDefaults = {
  pages: {},
  contentSecurityPolicy: ownOnly,
  checkEvery: "1s", // a look at 100 files takes 5 ms, spread over a second's requests; a reload after saving sees the change
  depth: 3, // assets/fonts/inter/…: what a build writes is rarely deeper
  maxFiles: 10_000, // a second for the first look; whoever has more wants a file server
  maxHeldFileBytes: 1024 * 1024, // scripts, styles and fonts; not films
  maxHeldBytes: 32 * 1024 * 1024, // the assets of a large front end, encoded twice
  clock: systemClock,
} as const satisfies Partial<StaticFilesOptions>;

const prefix: OptionCheck<string, string> = {
  expected: 'a path that begins and ends with a slash, such as "/assets/"',
  read: (value) => (/^\/(?:[A-Za-z0-9._~-]+\/)*$/.test(value) ? value : undefined),
};

export const staticFilesChecks = {
  directory: given<URL | string>("a path, or a file: URL"),
  prefix,
  pages: given<Readonly<Record<string, string>>>("names of HTML files by path"),
  contentSecurityPolicy: given<(scripts: string) => string>("a function that returns a policy"),
  checkEvery: duration(),
  depth: integer(0, 16),
  maxFiles: integer(1),
  maxHeldFileBytes: integer(0, 2 ** 30),
  maxHeldBytes: integer(1),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<StaticFilesOptions>;
