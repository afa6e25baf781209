// The request headers that the fast lane knows. Whatever is not here sends its request the ordinary way. See docs/fast-lane.md.
//
// A header is here when it may change nothing about an answer that stands already, or when the look-up reads it. Not here, on purpose: what names
// the sender (Authorization, Cookie), what asks for something else than the whole answer as it stands (Range, If-Match, If-Modified-Since,
// Cache-Control, Pragma), what frames or changes the message (Content-Length, Transfer-Encoding, Trailer, Expect, Upgrade, TE), and what a router
// may look at (Accept-Version).

/** In lower case. Their position is their number in a `RequestReader`. */
export const knownHeaders = [
  "host",
  "connection", // keep-alive only
  "accept-encoding",
  "if-none-match",
  "x-request-id",
  "user-agent",
  "accept",
  "accept-language",
  "referer",
  "origin", // where it means something, a hook stands in the way of the lane
  // Browsers say these of themselves, and of the page.
  "dnt",
  "priority",
  "save-data",
  "sec-ch-ua",
  "sec-ch-ua-mobile",
  "sec-ch-ua-platform",
  "sec-fetch-dest",
  "sec-fetch-mode",
  "sec-fetch-site",
  "sec-fetch-user",
  "sec-gpc",
  "upgrade-insecure-requests",
  // Proxies say these of the client. What stands in a shared answer depends on none of them.
  "forwarded",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-real-ip",
  // Traces: work that runs has one, and a hit runs nothing.
  "traceparent",
  "tracestate",
  "x-amzn-trace-id",
] as const;

export type KnownHeader = (typeof knownHeaders)[number];

export const numberOf = (name: KnownHeader): number => knownHeaders.indexOf(name);

/** What a byte means in a header's name: itself in lower case, or 0 when the lane has no business with it. */
export const nameBytes: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[A-Za-z0-9-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte).toLowerCase().charCodeAt(0) : 0,
);

interface Candidate {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** The known headers by the length of their names: at most a handful share one. */
export const headersByLength: readonly (readonly Candidate[])[] = Array.from(
  { length: Math.max(...knownHeaders.map((name) => name.length)) + 1 },
  (_, length) =>
    knownHeaders.flatMap((name, number) => (name.length === length ? [{ number, bytes: Buffer.from(name, "latin1") }] : [])),
);
