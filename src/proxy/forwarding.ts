// What goes on to the origin and back to the client: the fields that belong to a hop left out, and this hop's own put in.

import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Fields, endToEnd } from "../http-caching/index.ts";
import type { Target } from "./target.ts";

export interface ForwardingOptions {
  readonly name: string;
  readonly trustForwarded: boolean;
  /** The origin's host and port. */
  readonly originHost: string;
  readonly host: "origin" | "client";
}

/** Written anew for the next hop, or meant for this one alone. */
const ownFields = new Set([
  "host",
  "expect",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "forwarded",
  "surrogate-capability",
]);

export class Forwarding {
  readonly #options: ForwardingOptions;
  /** In the Via of requests, so that this very proxy knows its own again. */
  readonly #pseudonym: string;
  readonly via: string;

  constructor(options: ForwardingOptions) {
    this.#options = options;
    this.#pseudonym = `${options.name}-${randomBytes(6).toString("hex")}`;
    this.via = `1.1 ${options.name}`;
  }

  /** Whether a request has come through here before. */
  isLoop(fields: Fields): boolean {
    return fields.lines("via").some((line) => line.includes(this.#pseudonym));
  }

  /** A request's fields as the origin gets them. */
  toOrigin(fields: Fields, request: IncomingMessage, target: Target): Fields {
    const { trustForwarded, originHost, host } = this.#options;
    const flat = [...endToEnd(fields).without((name) => ownFields.has(name)).flat];
    const said = (name: string) => (trustForwarded ? fields.get(name) : undefined);
    const address = request.socket.remoteAddress ?? "unknown";
    const before = said("x-forwarded-for");
    const via = fields.get("via");
    const surrogates = fields.get("surrogate-capability");
    flat.push(
      "Host",
      host === "origin" ? originHost : target.host,
      "X-Forwarded-For",
      before === undefined ? address : `${before}, ${address}`,
      "X-Forwarded-Host",
      said("x-forwarded-host") ?? target.host,
      "X-Forwarded-Proto",
      said("x-forwarded-proto") ?? target.scheme,
      "Via",
      `${via === undefined ? "" : `${via}, `}1.1 ${this.#pseudonym}`,
      "Surrogate-Capability",
      `${surrogates === undefined ? "" : `${surrogates}, `}${this.#options.name}="Surrogate/1.0"`,
    );
    return new Fields(flat);
  }

  /** An answer's fields as they are kept and passed on. One without Date gets one: that of its arrival (RFC 9110 § 6.6.1). */
  fromOrigin(rawHeaders: readonly string[], nowMs: number): Fields {
    const fields = endToEnd(new Fields(rawHeaders));
    return fields.has("date") ? fields : fields.with("Date", new Date(nowMs).toUTCString());
  }
}
