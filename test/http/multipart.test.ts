import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { createApp, endpoint } from "../../src/http/index.ts";
import { open, problemOf, readAll, send, sendJson } from "./client.ts";

const upload = endpoint(
  "POST /upload",
  { multipart: { files: 1, fileBytes: 200_000, fields: 2, fieldBytes: 100 } },
  async ({ parts }) => {
    const seen: object[] = [];
    for await (const part of parts) {
      if (part.kind === "field") {
        seen.push({ name: part.name, value: part.value });
        continue;
      }
      const hash = createHash("sha256");
      let size = 0;
      for await (const chunk of part.stream) {
        hash.update(chunk as Buffer);
        size += (chunk as Buffer).length;
      }
      seen.push({ name: part.name, filename: part.filename, contentType: part.contentType, size, hash: hash.digest("hex") });
    }
    return seen;
  },
);
const unread = endpoint("POST /unread", { multipart: {} }, () => ({ read: false }));

const start = async () => {
  const app = createApp({ endpoints: [upload, unread], logger: false });
  return { url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};
async function post(url: string, form: FormData): Promise<{ status: number; text: string; code?: string }> {
  const response = await fetch(url, { method: "POST", body: form });
  const text = await response.text();
  return { status: response.status, text, ...(response.status >= 400 && { code: (JSON.parse(text) as { code: string }).code }) };
}

test("fields and files arrive in order, files as streams", async () => {
  await using app = await start();
  const bytes = Buffer.alloc(150_000, "abc");
  const form = new FormData();
  form.set("title", "Sunset");
  form.set("photo", new Blob([bytes], { type: "image/png" }), "sun.png");
  const answer = await post(`${app.url}/upload`, form);
  assert.deepEqual(JSON.parse(answer.text), [
    { name: "title", value: "Sunset" },
    {
      name: "photo",
      filename: "sun.png",
      contentType: "image/png",
      size: 150_000,
      hash: createHash("sha256").update(bytes).digest("hex"),
    },
  ]);
});

test("a file, a field or a number of parts beyond the limits is refused", async () => {
  await using app = await start();
  const large = new FormData();
  large.set("photo", new Blob([Buffer.alloc(300_000)]), "a");
  assert.deepEqual(
    { ...(await post(`${app.url}/upload`, large)), text: "" },
    { status: 413, text: "", code: "MILLRACE_HTTP_BODY_TOO_LARGE" },
  );
  const long = new FormData();
  long.set("title", "x".repeat(200));
  assert.equal((await post(`${app.url}/upload`, long)).status, 413);
  const many = new FormData();
  for (const name of ["a", "b", "c", "d"]) many.set(name, "1");
  assert.equal((await post(`${app.url}/upload`, many)).code, "MILLRACE_HTTP_MULTIPART_INVALID");
});

test("another content type is a 415, a malformed body a 400, and a body that nobody reads does no harm", async () => {
  await using app = await start();
  assert.equal((await sendJson(`${app.url}/upload`, {})).status, 415);
  assert.equal((await send(`${app.url}/upload`, { method: "POST" })).status, 415);
  const malformed = await send(`${app.url}/upload`, {
    method: "POST",
    headers: { "content-type": "multipart/form-data; boundary=x" },
    body: "--x\r\ncontent-disposition: form-data; name=a\r\n\r\nbroken off",
  });
  assert.equal(malformed.status, 400);
  assert.equal(problemOf(malformed).code, "MILLRACE_HTTP_MULTIPART_INVALID");
  const form = new FormData();
  form.set("photo", new Blob([Buffer.alloc(1_000_000)]), "a");
  assert.equal((await post(`${app.url}/unread`, form)).status, 200);
});

test("a client that leaves in the middle of an upload leaves nothing hanging", async () => {
  await using app = await start();
  const socket = await open(app.url);
  socket.write(
    "POST /upload HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 100000\r\n\r\n--x\r\ncontent-disposition: form-data; name=f; filename=a\r\n\r\nhalf",
  );
  await new Promise((resolve) => setImmediate(resolve));
  const closed = readAll(socket);
  socket.destroy();
  await closed;
});
