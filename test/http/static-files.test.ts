// Static files, over real sockets: what browsers keep for good, what they ask about, and what nobody gets.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { type StaticFilesOptions, createApp, staticFiles } from "../../src/http/index.ts";
import { problemOf, send } from "./client.ts";

const year = "public, max-age=31536000, immutable";
const html = `<!doctype html><!-- <script src="/assets/main.js"> --><link rel=stylesheet href='/assets/style.css'>
<script type="module" src="assets/main.js"></script><img src="https://elsewhere.example/assets/main.js"><a href="/assets/main.js">`;

/** Written as a deployment should: the whole file at once. */
async function put(directory: string, name: string, content: string | Buffer): Promise<void> {
  await writeFile(join(directory, `.${name.replace("/", "-")}`), content);
  await rename(join(directory, `.${name.replace("/", "-")}`), join(directory, name));
}

async function start(t: TestContext, options: Partial<StaticFilesOptions> = {}) {
  const root = await mkdtemp(join(tmpdir(), "files-"));
  const directory = join(root, "public");
  await mkdir(join(directory, "fonts"), { recursive: true });
  await put(directory, "index.html", html);
  await put(directory, "main.js", 'import "./other.js";');
  await put(directory, "other.js", `export const text = "${"a word ".repeat(500)}";`);
  await put(directory, "style.css", "body { margin: 0 }");
  await put(directory, "fonts/a b.woff2", Buffer.from("0123456789"));
  await writeFile(join(directory, ".secret"), "secret");
  await writeFile(join(root, "outside.txt"), "secret");
  await symlink(join(root, "outside.txt"), join(directory, "link.txt"));
  await symlink(root, join(directory, "folder"));
  const files = staticFiles({ directory, prefix: "/assets/", pages: { "/": "index.html" }, checkEvery: "0s", ...options });
  const app = createApp({ endpoints: files.endpoints, logger: false });
  t.after(async () => {
    await app.close();
    await rm(root, { recursive: true });
  });
  return { directory, files, url: await app.listen({ port: 0 }) };
}

test("a page names its files by their content, and a change of a module changes no other name", async (t) => {
  const { url, directory, files } = await start(t);
  const page = await send(`${url}/`);
  assert.equal(page.headers["cache-control"], "no-cache");
  const [main, other, style] = await Promise.all(["main.js", "other.js", "style.css"].map((name) => files.url(name)));
  assert.match(main!, /^\/assets\/main\.[\w-]{22}\.js$/);
  assert.ok(page.text.includes(`<script type="module" src="${main}">`), page.text);
  assert.ok(page.text.includes(`href='${style}'`));
  assert.ok(page.text.includes('<a href="/assets/main.js">') && page.text.includes("elsewhere.example/assets/main.js"));
  assert.ok(page.text.includes(`"/assets/other.js":"${other}"`));
  assert.ok(page.text.indexOf("importmap") < page.text.indexOf('type="module"'));
  const again = await send(`${url}/`, { headers: { "if-none-match": String(page.headers["etag"]) } });
  assert.deepEqual([again.status, again.text], [304, ""]);

  await put(directory, "other.js", "export const text = 1;");
  const changed = await send(`${url}/`, { headers: { "if-none-match": String(page.headers["etag"]) } });
  assert.equal(changed.status, 200);
  assert.equal(await files.url("main.js"), main);
  assert.notEqual(await files.url("other.js"), other);
  assert.ok(changed.text.includes((await files.url("other.js"))!));
});

test("a name with its content's digest is kept for a year, a plain one is asked about, and another digest is not found", async (t) => {
  const { url, directory, files } = await start(t);
  const path = (await files.url("style.css"))!;
  const named = await send(url + path);
  assert.deepEqual([named.status, named.headers["cache-control"], named.text], [200, year, "body { margin: 0 }"]);
  assert.equal(named.headers["content-type"], "text/css; charset=utf-8");
  const plain = await send(`${url}/assets/style.css`);
  assert.deepEqual([plain.headers["cache-control"], plain.headers["etag"]], ["no-cache", named.headers["etag"]]);
  const missing = await send(url + path.replace(/\.[\w-]{22}\./, `.${"A".repeat(22)}.`));
  assert.equal(missing.status, 404);
  assert.equal(missing.headers["cache-control"], "no-store");

  // Who has the page from before the change still gets what belongs to it.
  await put(directory, "style.css", "body { margin: 1px }");
  assert.equal((await send(`${url}/assets/style.css`)).text, "body { margin: 1px }");
  assert.equal((await send(url + path)).text, "body { margin: 0 }");
  assert.equal((await send(url + (await files.url("style.css"))!)).text, "body { margin: 1px }");
});

test("br, gzip and zstd, HEAD, ranges and If-Range, each with the tag of its bytes", async (t) => {
  const { url } = await start(t);
  const address = `${url}/assets/other.js`;
  const plain = await send(address);
  const decoders = { br: brotliDecompressSync, gzip: gunzipSync, zstd: zstdDecompressSync };
  const tags = new Set([plain.headers["etag"]]);
  for (const [coding, decode] of Object.entries(decoders)) {
    const answer = await send(address, { headers: { "accept-encoding": coding } });
    assert.equal(answer.headers["content-encoding"], coding);
    assert.equal(decode(answer.body).toString(), plain.text);
    assert.match(String(answer.headers["vary"]), /accept-encoding/);
    tags.add(answer.headers["etag"]);
  }
  assert.equal(tags.size, 4);
  const head = await send(address, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.text], [200, String(plain.body.length), ""]);
  const ranged = await send(address, { headers: { range: "bytes=0-5", "if-range": String(plain.headers["etag"]) } });
  assert.deepEqual([ranged.status, ranged.text], [206, "export"]);
  assert.equal((await send(address, { headers: { range: "bytes=0-5", "if-range": '"another"' } })).status, 200);
});

test("a file that is too large to be held is streamed, with the same conditions and ranges", async (t) => {
  const { url, files } = await start(t, { maxHeldFileBytes: 5 });
  const path = (await files.url("fonts/a b.woff2"))!;
  assert.match(path, /^\/assets\/fonts\/a%20b\.[\w-]{22}\.woff2$/);
  const all = await send(url + path);
  assert.deepEqual([all.text, all.headers["content-length"], all.headers["cache-control"]], ["0123456789", "10", year]);
  assert.equal(all.headers["content-type"], "font/woff2");
  const etag = String(all.headers["etag"]);
  assert.equal((await send(url + path, { headers: { "if-none-match": etag } })).status, 304);
  const ranged = await send(url + path, { headers: { range: "bytes=-3", "if-range": etag } });
  assert.deepEqual([ranged.status, ranged.text, ranged.headers["content-range"]], [206, "789", "bytes 7-9/10"]);
  assert.equal((await send(url + path, { headers: { range: "bytes=10-" } })).status, 416);
  const head = await send(url + path, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.text], [200, "10", ""]);
});

test("nothing outside of the directory, no links, no names with a leading dot, and no page under a second name", async (t) => {
  const { url } = await start(t);
  for (const path of [
    ".secret",
    "%2esecret",
    "link.txt",
    "folder/outside.txt",
    "folder",
    "fonts",
    "../outside.txt",
    "..%2foutside.txt",
    "%2e%2e%2foutside.txt",
    "fonts/..%2f..%2foutside.txt",
    "..%5coutside.txt",
    "main.js%00",
    "main.js/",
    "index.html",
    "constructor",
    "__proto__",
  ]) {
    const answer = await send(`${url}/assets/${path}`);
    assert.ok(answer.status === 404 || answer.status === 400, `${path}: ${answer.status}`);
    assert.equal(answer.text.includes("secret"), path.includes("secret"), path); // problems name their path
  }
});

test("a directory that is not there, or has too many files, is said at the start and in every answer", async (t) => {
  const absent = staticFiles({ directory: "/nowhere/at/all", prefix: "/" });
  await assert.rejects(absent.ready(), { code: "MILLRACE_HTTP_FILES_UNREADABLE", message: /\/nowhere\/at\/all .*ENOENT/ });
  const { url } = await start(t, { maxFiles: 3 });
  const answer = await send(`${url}/assets/main.js`);
  assert.deepEqual([answer.status, problemOf(answer).code], [500, "MILLRACE_HTTP_INTERNAL"]);
});
