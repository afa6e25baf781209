// Bytes for the fuzz: requests by a grammar that knows what parsers disagree about, and mutations of them.

/** xorshift128+ is more than this needs; 32 bits of xorshift are fast, and a seed gives the same inputs anywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Seeds that differ by one begin far apart.
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1;
  }

  /** A whole number from 0 up to `bound`, which is not reached. */
  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % bound;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
}

const targets = [
  "/",
  "/cities",
  "/cities?limit=3&after=2",
  "/a/%2e%2e/b?x=%00",
  "//double/slash",
  "/?",
  "/a;b=c?d[e]=f|g",
  "/caf\u00e9",
  "/with#fragment",
  "/with space",
  "/tab\tin",
  "/\u007f",
  "/\u0000",
  "*",
  "http://host/absolute",
  "host:443",
  "",
];
const methods = ["HEAD", "POST", "get", "Get", "GETT", "GE", "PUT", "OPTIONS", "CONNECT", "PRI", "\r\nGET", " GET", "GET\t"];
const versions = [
  "HTTP/1.0",
  "HTTP/1.2",
  "HTTP/2.0",
  "http/1.1",
  "HTTP/1.1 ",
  "HTTP/01.1",
  "HTTP/1.",
  "HTTP/11",
  "ICE/1.1",
  "RTSP/1.0",
  "",
];
const lineEnds = ["\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n", " \r\n", "\r\n ", "\u0000\r\n", "\u000b\r\n", ""];

const ordinaryHeaders = [
  "Host: api.example",
  "host: api.example",
  "Accept: */*",
  "Accept-Encoding: gzip, deflate, br",
  "accept-encoding:gzip",
  "ACCEPT-ENCODING:   identity;q=0.5, zstd",
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
  "Accept-Language: de,en;q=0.7",
  "Connection: keep-alive",
  "connection: Keep-Alive",
  'If-None-Match: "abc", W/"d"',
  "X-Request-Id: 0190163d-8694-739b-aea5-966c26f8ad91",
  "Referer: https://example.org/a?b#c",
  "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
  'Sec-CH-UA: "Chromium";v="130"',
  "Upgrade-Insecure-Requests: 1",
  "DNT: 1",
  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];
const suspiciousHeaders = [
  "Content-Length: 0",
  "Content-Length: 5",
  "content-length: 00",
  "Content-Length: +5",
  "Content-Length: 5, 5",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: identity",
  "transfer-encoding:\tchunked",
  "Transfer-Encoding : chunked",
  "Connection: close",
  "Connection: keep-alive, close",
  "Connection: Upgrade",
  "Connection: keep-alive, Content-Length",
  "Connection: keep-alivE ",
  "Connection:\tkeep-alive",
  "Connection:",
  "Connection: keep\ralive",
  "Proxy-Connection: close",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "HTTP2-Settings: AAMAAABkAAQAAP__",
  "Expect: 100-continue",
  "TE: trailers",
  "Trailer: x",
  "Range: bytes=0-1",
  "Cookie: a=b",
  "Authorization: Bearer x",
  "Host: other",
  "Host: a, b",
  "Host: a/b",
  "Host: user@a",
  "Host: [::1]:80",
  "Host: a:99999999",
  "Host:",
  "Host: ",
  " Host: folded",
  "Accept: a\r\n b",
  "Accept: \u00fc",
  "Accept: \u0000",
  "Accept: \u0001",
  "Accept: \t*/*",
  "Accept: */*\t",
  "Accept: \u007f",
  "Accept : */*",
  "Acc ept: */*",
  "Accept",
  ": value",
  "\u0000: x",
  "Accept\u0000: x",
  "Accept_Encoding: gzip",
  "Content-Length\r: 5",
  "X-Unknown: 1",
  "accept-encoding: x\nhost: y",
];
const bodies = [
  "",
  "",
  "",
  "",
  "",
  "",
  "",
  "",
  "hello",
  "0\r\n\r\n",
  "5\r\nhello\r\n0\r\n\r\n",
  "GET /inner HTTP/1.1\r\nHost: b\r\n\r\n",
  "\r\n",
  "\r\n\r\n",
  "\n",
];

/** A request, mostly as browsers and proxies send it; in one of some hundred places it is not. */
function request(random: Random): string {
  const method = random.oneIn(12) ? random.of(methods) : "GET";
  const target = random.oneIn(6) ? random.of(targets) : targets[random.below(7)]!;
  const version = random.oneIn(16) ? random.of(versions) : "HTTP/1.1";
  const lineEnd = (): string => (random.oneIn(40) ? random.of(lineEnds) : "\r\n");
  let text = `${method} ${target} ${version}${lineEnd()}`;
  let hosts = 0;
  for (let i = random.below(7); i > 0; i--) {
    const header = random.oneIn(12) ? random.of(suspiciousHeaders) : random.of(ordinaryHeaders);
    if (/^host/i.test(header) && ++hosts > 1 && !random.oneIn(8)) continue;
    text += header + lineEnd();
    // Twice the same is what smugglers send.
    if (random.oneIn(24)) text += header + lineEnd();
  }
  if (hosts === 0 && !random.oneIn(12)) text += ordinaryHeaders[0]! + lineEnd();
  return text + lineEnd() + random.of(bodies);
}

/** What mutations put in: where lines, fields and numbers begin and end, and what looks like it. */
const interesting = [
  "\r",
  "\n",
  "\r\n",
  " ",
  "\t",
  ":",
  "\u0000",
  ",",
  ";",
  "\u00a0",
  "\u0085",
  "\u000b",
  "#",
  "?",
  "%0d%0a",
  "0",
  "Content-Length: 1\r\n",
];

function mutate(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  switch (random.below(7)) {
    case 0:
      return text.slice(0, at) + random.of(interesting) + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(at + 1 + random.below(3));
    case 2:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 3:
      return text.slice(0, at);
    case 4: {
      const end = at + random.below(40);
      return text.slice(0, end) + text.slice(at, end) + text.slice(end);
    }
    case 5: {
      // One bit: upper case becomes lower, CR becomes a hyphen's neighbour.
      const code = text.charCodeAt(at);
      return Number.isNaN(code)
        ? text
        : text.slice(0, at) + String.fromCharCode(code ^ (1 << random.below(8))) + text.slice(at + 1);
    }
    default: {
      const lines = text.split("\r\n");
      const one = random.below(lines.length);
      const other = random.below(lines.length);
      [lines[one], lines[other]] = [lines[other]!, lines[one]!];
      return lines.join("\r\n");
    }
  }
}

/** One input after the other, as Latin-1. */
export class Inputs {
  readonly #random: Random;
  #previous = "";

  constructor(random: Random) {
    this.#random = random;
  }

  /** One to three requests one behind the other, half of the time mutated. One in four has the header lines of the one before. */
  next(): string {
    const random = this.#random;
    let text = random.oneIn(4) ? repeat(this.#previous, random) : request(random);
    while (random.oneIn(8)) text += request(random);
    this.#previous = text;
    if (random.oneIn(2)) {
      text = mutate(text, random);
      while (random.oneIn(3)) text = mutate(text, random);
    }
    return text;
  }
}

/** Another request line before the same lines. */
function repeat(text: string, random: Random): string {
  const lineEnd = text.indexOf("\r\n");
  return lineEnd === -1 ? text : `GET ${targets[random.below(7)]!} HTTP/1.1${text.slice(lineEnd)}`;
}
