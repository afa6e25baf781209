// What the adapters share: an upstream for the CDN's API, and an answer of success or a failure that says what the API said.

import { type Upstream, type UpstreamOptions, type UpstreamRequest, createUpstream } from "../../upstream/index.ts";
import { cdnErrors } from "../errors.ts";

/** Settings of the client, such as timeouts or, for a proxy of yours, allowPrivate. */
export type ApiSettings = Omit<UpstreamOptions, "url" | "urls" | "headers">;

export class CdnApi {
  readonly #upstream: Upstream;

  constructor(name: string, url: string, settings: ApiSettings | undefined) {
    // A purge may be made twice: it is repeated by whoever ordered it, not hedged here.
    this.#upstream = createUpstream(name, {
      deadline: "10s",
      headersTimeout: "10s",
      hedge: false,
      maxAttempts: 1,
      ...settings,
      url,
    });
  }

  /** The text of an answer of success. @throws MILLRACE_CDN_PURGE_REFUSED, what the upstream throws */
  async send(request: UpstreamRequest): Promise<string> {
    const { status, body } = await this.#upstream.request({ ...request, idempotent: true });
    const text = body.toString();
    if (status < 200 || status > 299) throw this.refused(status, text);
    return text;
  }

  refused(status: number, text: string): Error {
    const answer = text.slice(0, 300).replaceAll(/\s+/g, " ").trim();
    return cdnErrors.create("MILLRACE_CDN_PURGE_REFUSED", { cdn: this.#upstream.name, status, answer });
  }

  close(): Promise<void> {
    return this.#upstream.close();
  }
}

/** The two ways of closing that an adapter has. */
export const closing = (api: CdnApi): { close(): Promise<void>; [Symbol.asyncDispose](): Promise<void> } => ({
  close: () => api.close(),
  [Symbol.asyncDispose]: () => api.close(),
});
