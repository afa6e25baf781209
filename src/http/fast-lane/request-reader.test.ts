import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { RequestReader, maxHeadBytes, maxTargetBytes } from "./request-reader.ts";

const lines = (...all: readonly string[]): Buffer => Buffer.from(`${all.join("\r\n")}\r\n\r\n`, "latin1");
const read = (bytes: Buffer, from = 0): number => new RequestReader().read(bytes, from);

const browser = lines(
  "GET /cities?limit=3 HTTP/1.1",
  "Host: localhost:3000",
  "Connection: keep-alive",
  'sec-ch-ua: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"',
  "sec-ch-ua-mobile: ?0",
  'sec-ch-ua-platform: "Linux"',
  "Upgrade-Insecure-Requests: 1",
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "Sec-Fetch-Site: none",
  "Sec-Fetch-Mode: navigate",
  "Sec-Fetch-User: ?1",
  "Sec-Fetch-Dest: document",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Accept-Language: en-US,en;q=0.9",
  'If-None-Match: "abc"',
);

suite("what is read", () => {
  for (const [who, bytes] of Object.entries({
    curl: lines("GET /x HTTP/1.1", "Host: localhost:3000", "User-Agent: curl/8.5.0", "Accept: */*"),
    browser,
    "node's fetch": lines(
      "GET /x HTTP/1.1",
      "host: localhost",
      "connection: keep-alive",
      "accept: */*",
      "accept-language: *",
      "sec-fetch-mode: cors",
      "user-agent: node",
      "accept-encoding: gzip, deflate",
    ),
    nginx: lines(
      "GET /x HTTP/1.1",
      "Host: a_b.example",
      "X-Real-IP: 10.0.0.1",
      "X-Forwarded-For: 10.0.0.1",
      "X-Forwarded-Proto: https",
    ),
    "an address": lines("GET / HTTP/1.1", "HOST:[::1]:8080"),
  })) {
    test(`a request of ${who}, whole`, () => assert.equal(read(bytes), bytes.length));
  }

  test("its parts, as they came", () => {
    const reader = new RequestReader();
    for (let i = 0; i < 30; i++) {
      // From the ninth time on the header lines are remembered.
      assert.equal(reader.read(browser, 0), browser.length);
      assert.equal(reader.target, "/cities?limit=3");
      assert.equal(reader.acceptEncoding, "gzip, deflate, br, zstd");
      assert.equal(reader.ifNoneMatch, '"abc"');
      assert.equal(reader.requestId, undefined);
      assert.equal(reader.header("sec-fetch-dest"), "document");
      assert.equal(reader.header("host"), "localhost:3000");
      assert.equal(reader.header("x-unknown"), undefined);
    }
    const other = lines("GET /other HTTP/1.1", "host: h", "x-request-id: 1234567890");
    assert.equal(reader.read(other, 0), other.length);
    assert.equal(reader.target, "/other");
    assert.equal(reader.requestId, "1234567890");
    assert.equal(reader.acceptEncoding, undefined);
    assert.equal(reader.header("sec-fetch-dest"), undefined);
  });

  test("one of several, wherever it begins, and no byte beyond it", () => {
    const one = lines("GET /1 HTTP/1.1", "host: h");
    const two = lines("GET /2 HTTP/1.1", "host: h", "accept: */*");
    const bytes = Buffer.concat([one, two, Buffer.from("GET /3")]);
    const reader = new RequestReader();
    assert.equal(reader.read(bytes, 0), one.length);
    assert.equal(reader.read(bytes, one.length), one.length + two.length);
    assert.equal(reader.target, "/2");
    assert.equal(reader.read(bytes, one.length + two.length), 0);
  });

  test("lines that differ from remembered ones in one byte are read as they are", () => {
    const reader = new RequestReader();
    const request = (language: string) => lines("GET / HTTP/1.1", "host: h", `accept-language: ${language}`);
    for (let i = 0; i < 50; i++) {
      const language = i % 2 === 0 ? "de" : "en";
      assert.notEqual(reader.read(request(language), 0), 0);
      assert.equal(reader.header("accept-language"), language);
    }
    assert.equal(reader.read(request("e\u0000"), 0), 0);
  });
});

suite("what is not read", () => {
  test("any part of a request", () => {
    for (let end = 0; end < browser.length; end++) assert.equal(read(browser.subarray(0, end)), 0, `${end} bytes`);
  });

  const good = ["GET /x HTTP/1.1", "Host: h", "Accept: */*"] as const;
  const bad: Record<string, string> = {
    "another method": "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method in lower case": "get /x HTTP/1.1\r\nHost: h\r\n\r\n",
    "an older version": "GET /x HTTP/1.0\r\nHost: h\r\n\r\n",
    "an empty line before it": "\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n",
    "a fragment": "GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target": "GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces": "GET  /x HTTP/1.1\r\nHost: h\r\n\r\n",
    "a space in the target": "GET /x y HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target beyond ASCII": "GET /\u00e9 HTTP/1.1\r\nHost: h\r\n\r\n",
    "a bare LF after the request line": "GET /x HTTP/1.1\nHost: h\r\n\r\n",
    "a bare LF after a header": "GET /x HTTP/1.1\r\nHost: h\n\r\n",
    "a bare LF at the end": "GET /x HTTP/1.1\r\nHost: h\r\n\n",
    "a bare CR in a value": "GET /x HTTP/1.1\r\nHost: h\r\nAccept: a\rb\r\n\r\n",
    "no Host": "GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two Hosts": "GET /x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    "a Host that is none": "GET /x HTTP/1.1\r\nHost: h/x\r\n\r\n",
    "an empty Host": "GET /x HTTP/1.1\r\nHost: \r\n\r\n",
    "a header twice": `${good.join("\r\n")}\r\naccept: */*\r\n\r\n`,
    "a folded line": `${good.join("\r\n")}\r\n more\r\n\r\n`,
    "a space before the colon": `${good.join("\r\n")}\r\nDNT : 1\r\n\r\n`,
    "a tab before the value": `${good.join("\r\n")}\r\nDNT:\t1\r\n\r\n`,
    "a space after the value": `${good.join("\r\n")}\r\nDNT: 1 \r\n\r\n`,
    "a value beyond ASCII": `${good.join("\r\n")}\r\nReferer: \u00e9\r\n\r\n`,
    "an unknown header": `${good.join("\r\n")}\r\nX-Unknown: 1\r\n\r\n`,
    "a name that only begins like a known one": `${good.join("\r\n")}\r\nHos: 1\r\n\r\n`,
    "Connection: close": `${good.join("\r\n")}\r\nConnection: close\r\n\r\n`,
    "Connection with more than keep-alive": `${good.join("\r\n")}\r\nConnection: keep-alive, upgrade\r\n\r\n`,
  };
  for (const name of [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Range",
    "If-Range",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Cache-Control",
    "Pragma",
    "Freshness-Token",
    "Expect",
    "Upgrade",
    "TE",
    "Trailer",
    "Accept-Version",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Type",
    "Keep-Alive",
    "Proxy-Connection",
  ])
    bad[name] = `${good.join("\r\n")}\r\n${name}: 0\r\n\r\n`;

  for (const [what, text] of Object.entries(bad)) test(what, () => assert.equal(read(Buffer.from(text, "latin1")), 0));

  test("more bytes than a head may have, be they target or headers", () => {
    const target = (length: number) => lines(`GET /${"x".repeat(length - 1)} HTTP/1.1`, "host: h");
    assert.notEqual(read(target(maxTargetBytes)), 0);
    assert.equal(read(target(maxTargetBytes + 1)), 0);
    const head = (length: number) => {
      const rest = lines("GET / HTTP/1.1", "host: h", "accept: ").length;
      return lines("GET / HTTP/1.1", "host: h", `accept: ${"x".repeat(length - rest)}`);
    };
    assert.equal(head(maxHeadBytes).length, maxHeadBytes);
    assert.notEqual(read(head(maxHeadBytes)), 0);
    assert.equal(read(head(maxHeadBytes + 1)), 0);
    const small = new RequestReader(1_024);
    assert.notEqual(small.read(head(1_024), 0), 0);
    assert.equal(small.read(head(1_025), 0), 0);
    // Nor does a remembered section get around it.
    const reader = new RequestReader(100);
    const sections = (length: number) => lines(`GET /${"x".repeat(length)} HTTP/1.1`, "host: h", "accept: */*");
    for (let i = 0; i < 20; i++) assert.notEqual(reader.read(sections(10), 0), 0);
    assert.equal(reader.read(sections(61), 0), 0);
  });
});
