// staticFiles(): a directory as endpoints. See docs/static-files.md.
//
// | asked for                          | answered with                                            | Cache-Control        |
// | ---------------------------------- | -------------------------------------------------------- | -------------------- |
// | a page's path                      | the page, its references renamed                         | no-cache             |
// | a file's name                      | the file                                                 | no-cache             |
// | a name with its content's digest   | the file                                                 | a year, immutable    |
// | one with another digest            | the file as it was, if it is still held; else 404        | a year, immutable    |
// | anything else                      | 404                                                      | no-store             |

import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { Type } from "typebox";
import { createLruMap } from "../../concurrency/index.ts";
import { type ResolvedOptions, resolveOptions } from "../../core/index.ts";
import { type Coding, isCompressible, negotiateCoding } from "../compression/negotiate.ts";
import { type Endpoint, type HandlerTools, endpoint } from "../endpoint.ts";
import { httpErrors } from "../errors.ts";
import { exchangeOf } from "../exchange.ts";
import { rangeIn } from "../response-cache/byte-range.ts";
import { ResponseEntry } from "../response-cache/entry.ts";
import { digestOf, namesEtag } from "../response-cache/etag.ts";
import { sendEntry } from "../response-cache/send-entry.ts";
import { bytes } from "../schemas.ts";
import { Directory, type FoundFile } from "./directory.ts";
import { mediaTypeOf } from "./media-types.ts";
import { type StaticFilesOptions, staticFilesChecks, staticFilesDefaults } from "./options.ts";
import { renderPage } from "./page-html.ts";

export interface StaticFiles {
  /** For createApp() and the plugin, among others. */
  readonly endpoints: readonly Endpoint[];
  /**
   * The path under which the content that a file has now is served for ever: "/assets/main.3fA9….js" for "main.js". Undefined: there is no
   * such file.
   */
  url(name: string): Promise<string | undefined>;
  /**
   * Looks at the directory, so that a service with a wrong path fails when it starts.
   * @throws MILLRACE_HTTP_FILES_UNREADABLE
   */
  ready(): Promise<void>;
}

/** RFC 8246: a client need not ask again, not even when its user reloads. A year is what caches keep at the most. */
const immutable = "public, max-age=31536000, immutable";
const askAgain = "no-cache";

/** How often it is tried again when a file changes while it is read. */
const mostAttempts = 3;

const hashedName = /^(.+)\.([A-Za-z0-9_-]{22})(\.[^./]*)?$/;

/** "main.js" → "main.<digest>.js"; "LICENSE" → "LICENSE.<digest>". */
function nameWith(digest: string, name: string): string {
  const dot = name.lastIndexOf(".");
  return dot > name.lastIndexOf("/") + 1 ? `${name.slice(0, dot)}.${digest}${name.slice(dot)}` : `${name}.${digest}`;
}

const pathOf = (prefix: string, name: string): string => prefix + name.split("/").map(encodeURIComponent).join("/");

/** It was made long ago or just now: nothing of it is told to clients. */
const held = { state: "miss", stored: true, ageMs: 0 } as const;

/**
 * Serves a directory: files under names that change with their content, which browsers and CDNs keep for good, and under their plain names,
 * which they ask about. Nothing is read before the first request, or ready().
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function staticFiles(given: StaticFilesOptions): StaticFiles {
  const options = resolveOptions<StaticFilesOptions, typeof staticFilesChecks>(
    "staticFiles",
    given,
    staticFilesDefaults,
    staticFilesChecks,
  );
  const { prefix, pages, depth } = options;
  const files = new Files(options);
  const endpoints = Object.entries(pages).map(([path, name]) =>
    endpoint(
      `GET ${path as "/"}`,
      {
        summary: `The page ${name}`,
        tags: ["files"],
        response: bytes("text/html"),
        compress: false,
        deadline: "none",
        cache: false,
      },
      (input) => files.page(path, name, input),
    ),
  );
  for (let folders = 0; folders <= depth; folders++) {
    const names = Array.from({ length: folders + 1 }, (_, i) => (i === folders ? "file" : `folder${i + 1}`));
    endpoints.push(
      endpoint(
        `GET ${prefix}${names.map((name) => `:${name}`).join("/")}` as "GET /:file",
        {
          summary: folders === 0 ? "A file" : `A file, ${folders} ${folders === 1 ? "folder" : "folders"} down`,
          tags: ["files"],
          params: Object.fromEntries(names.map((name) => [name, Type.String({ minLength: 1 })])) as { file: Type.TString },
          response: bytes("application/octet-stream"),
          compress: false,
          deadline: "none",
          cache: false,
        },
        (input) => files.file(names.map((name) => (input.params as Record<string, string>)[name]).join("/"), input),
      ),
    );
  }
  return Object.freeze({
    endpoints: Object.freeze(endpoints),
    url: (name: string) => files.url(name),
    ready: () => files.ready(),
  });
}

/** A stream that is to be sent; or nothing, because the request is answered. */
type Sent = Readable | "";

type Input = Pick<HandlerTools, "request" | "reply">;

interface HeldPage {
  readonly version: number;
  readonly entry: ResponseEntry;
}

class Files {
  readonly #options: ResolvedOptions<typeof staticFilesChecks>;
  readonly #directory: Directory;
  /** Held by name and digest, so that what has changed can still be asked for under its old name for a while. */
  readonly #held;
  readonly #pages = new Map<string, HeldPage>();
  /** Codings that have been made of what is held; one that saves nothing is not made again for each request. */
  readonly #tried = new WeakMap<ResponseEntry, Set<Coding>>();
  readonly #pageFiles: ReadonlySet<string>;

  constructor(options: ResolvedOptions<typeof staticFilesChecks>) {
    this.#options = options;
    const { directory, checkEvery, depth, maxFiles, clock, maxHeldBytes } = options;
    this.#directory = new Directory({
      path: typeof directory === "string" ? directory : fileURLToPath(directory),
      checkEveryMs: checkEvery,
      depth,
      maxFiles,
      clock,
    });
    this.#held = createLruMap<string, ResponseEntry>({
      maxEntries: maxFiles,
      maxBytes: maxHeldBytes,
      sizeOf: ({ bytes: size }, key) => size + 2 * key.length,
    });
    this.#pageFiles = new Set(Object.values(options.pages));
  }

  ready(): Promise<void> {
    return this.#directory.look(true);
  }

  async url(name: string): Promise<string | undefined> {
    await this.#directory.look();
    return this.#url(name);
  }

  async #url(name: string): Promise<string | undefined> {
    const file = this.#pageFiles.has(name) ? undefined : this.#directory.files.get(name);
    const digest = file && (await this.#directory.digest(file));
    return digest && pathOf(this.#options.prefix, nameWith(digest, name));
  }

  async page(path: string, name: string, input: Input): Promise<Sent> {
    await this.#directory.look();
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const { version } = this.#directory;
      const known = this.#pages.get(path);
      if (known?.version === version) return this.#send(known.entry, input);
      const entry = await this.#render(path, name);
      if (entry !== undefined) {
        this.#pages.set(path, { version, entry });
        return this.#send(entry, input);
      }
      await this.#directory.look(true);
    }
    throw httpErrors.create("MILLRACE_HTTP_ROUTE_NOT_FOUND", {});
  }

  /** Undefined: something has changed meanwhile. */
  async #render(path: string, name: string): Promise<ResponseEntry | undefined> {
    const directory = this.#directory;
    const { prefix, contentSecurityPolicy } = this.#options;
    const file = directory.files.get(name);
    const read = file && (await directory.read(file));
    if (read === undefined) return undefined;
    const urls = new Map<string, string>();
    const modules = new Map<string, string>();
    for (const other of directory.files.keys()) {
      if (this.#pageFiles.has(other)) continue;
      const url = await this.#url(other);
      if (url === undefined) return undefined;
      const plain = pathOf(prefix, other);
      urls.set(plain, url);
      if (/\.m?js$/.test(other)) modules.set(plain, url);
    }
    const { html, scripts } = renderPage(read.bytes.toString("utf8"), path, (plain) => urls.get(plain), modules);
    const body = Buffer.from(html);
    return entryOf("text/html; charset=utf-8", body, digestOf(body), askAgain, contentSecurityPolicy(scripts));
  }

  async file(asked: string, input: Input): Promise<Sent> {
    await this.#directory.look();
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const plain = this.#find(asked);
      if (plain !== undefined) {
        const answer = await this.#answer(plain, undefined, input);
        if (answer !== "changed") return answer;
      } else {
        const [, stem, digest, end = ""] = hashedName.exec(asked) ?? [];
        if (stem === undefined || digest === undefined) break;
        const name = stem + end;
        const older = this.#held.get(keyOf(name, digest, immutable));
        if (older !== undefined) return this.#send(older, input);
        const file = this.#find(name);
        const current = file && (await this.#directory.digest(file));
        if (file !== undefined && current === digest) {
          const answer = await this.#answer(file, digest, input);
          if (answer !== "changed") return answer;
        } else if (file === undefined || current !== undefined) break;
      }
      await this.#directory.look(true);
    }
    throw httpErrors.create("MILLRACE_HTTP_ROUTE_NOT_FOUND", {});
  }

  #find(name: string): FoundFile | undefined {
    return this.#pageFiles.has(name) ? undefined : this.#directory.files.get(name);
  }

  /** Sends it, or gives the stream that is to be sent. `digest`: asked for under it. */
  async #answer(file: FoundFile, digest: string | undefined, input: Input): Promise<Sent | "changed"> {
    const cacheControl = digest === undefined ? askAgain : immutable;
    if (file.size > this.#options.maxHeldFileBytes) return this.#stream(file, cacheControl, input);
    const known = digest ?? (await this.#directory.digest(file));
    const before = known === undefined ? undefined : this.#held.get(keyOf(file.name, known, cacheControl));
    if (before !== undefined) return this.#send(before, input);
    const read = await this.#directory.read(file);
    if (read === undefined || (digest !== undefined && read.digest !== digest)) return "changed";
    const entry = entryOf(mediaTypeOf(file.name), read.bytes, read.digest, cacheControl);
    this.#held.set(keyOf(file.name, read.digest, cacheControl), entry);
    return this.#send(entry, input);
  }

  async #send(entry: ResponseEntry, { request }: Input): Promise<Sent> {
    const negotiated = negotiateCoding(request.headers["accept-encoding"]);
    const tried = this.#tried.get(entry) ?? new Set();
    this.#tried.set(entry, tried);
    // The first to take a coding waits for it: a CDN would keep for a year what it gets.
    if (negotiated.coding !== "identity" && !tried.has(negotiated.coding)) {
      await entry.variants.made(negotiated);
      tried.add(negotiated.coding);
    }
    entry.variants.now(negotiated, true); // counts as used: what many ask for is encoded harder
    // Everything that HTTP says about conditions, ranges and codings is done as for a kept answer.
    await sendEntry(exchangeOf(request)!, entry, held);
    return "";
  }

  /** A large file: as it is, never all of it in memory. */
  async #stream(file: FoundFile, cacheControl: string, { request, reply }: Input): Promise<Sent | "changed"> {
    const digest = await this.#directory.digest(file);
    const handle = digest === undefined ? undefined : await this.#directory.open(file);
    if (handle === undefined) return "changed";
    try {
      const etag = `"${digest}"`;
      const { "if-none-match": ifNoneMatch, "if-range": ifRange, range } = request.headers;
      reply.headers({ etag, "cache-control": cacheControl });
      if (ifNoneMatch !== undefined && namesEtag(ifNoneMatch, etag)) {
        await handle.close();
        reply.code(304);
        return "";
      }
      reply.headers({ "accept-ranges": "bytes", "content-type": mediaTypeOf(file.name) });
      const isRanged = range !== undefined && request.method === "GET" && (ifRange === undefined || ifRange === etag);
      const wanted = (isRanged ? rangeIn(range, file.size) : undefined) ?? { first: 0, last: file.size - 1 };
      if (wanted === "unsatisfiable")
        throw httpErrors.create("MILLRACE_HTTP_RANGE_UNSATISFIABLE", { contentRange: `bytes */${file.size}` });
      const length = wanted.last - wanted.first + 1;
      if (length < file.size) reply.code(206).header("content-range", `bytes ${wanted.first}-${wanted.last}/${file.size}`);
      reply.header("content-length", String(length));
      const source = handle.createReadStream({ start: wanted.first, end: wanted.last });
      return Readable.from(whole(source, length), { objectMode: false }).once("close", () => source.destroy());
    } catch (error) {
      await handle.close();
      throw error;
    }
  }
}

/** A file that was cut short while it is sent must not leave its client waiting for the rest. */
async function* whole(source: AsyncIterable<unknown>, length: number): AsyncGenerator<Buffer> {
  let left = length;
  for await (const chunk of source) {
    left -= (chunk as Buffer).length;
    yield chunk as Buffer;
  }
  if (left > 0) throw new Error(`The file has become ${left} bytes shorter while it was sent.`);
}

const keyOf = (name: string, digest: string, cacheControl: string): string =>
  `${cacheControl === immutable ? "i" : "p"} ${digest} ${name}`;

function entryOf(type: string, body: Buffer, digest: string, cacheControl: string, policy?: string): ResponseEntry {
  const compressible = isCompressible(type);
  return new ResponseEntry({
    status: 200,
    headers: [
      { name: "content-type", values: [type] },
      { name: "cache-control", values: [cacheControl] },
      ...(policy === undefined ? [] : [{ name: "content-security-policy", values: [policy] }]),
    ],
    body,
    etag: `"${digest}"`,
    vary: compressible ? "accept-encoding" : "",
    compressible,
    forAuthorized: true,
    age: 0,
    failure: undefined,
  });
}
