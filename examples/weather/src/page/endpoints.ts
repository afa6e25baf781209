// The page for people: files as they lie in ../../page, written by hand and built by nobody. What the kit allows an API's answers to do in a
// browser is nothing; the page may run its own scripts, and ask its own server.

import { readFile } from "node:fs/promises";
import { bytes, endpoint, problem } from "millrace";
import { Type } from "typebox";

const directory = new URL("../../page/", import.meta.url);

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const types: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Files are not followed as the database is: whoever changes one sees it a little later. */
const cache = { ttl: "10s" } as const;

const getPage = endpoint(
  "GET /",
  { summary: "The page for people", tags: ["page"], response: bytes("text/html"), cache },
  async ({ reply }) => {
    reply.headers({ "content-type": "text/html; charset=utf-8", "content-security-policy": contentSecurityPolicy });
    return readFile(new URL("index.html", directory));
  },
);

const getPageFile = endpoint(
  "GET /page/:file",
  {
    summary: "What the page is made of",
    tags: ["page"],
    // No dots but the one before the type: no other folder.
    params: { file: Type.String({ pattern: String.raw`^[a-z-]{1,40}\.(css|js|svg)$` }) },
    response: bytes("text/css", "text/javascript", "image/svg+xml"),
    cache,
  },
  async ({ params: { file }, reply }) => {
    const content = await readFile(new URL(file, directory)).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "ENOENT" ? problem(404, "FILE_NOT_FOUND", `The page has no ${file}.`) : error;
    });
    reply.header("content-type", types[file.slice(file.lastIndexOf(".") + 1)]!);
    return content;
  },
);

export const pageEndpoints = [getPage, getPageFile];
