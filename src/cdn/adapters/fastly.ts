// Fastly: Surrogate-Key, and purges by key. Limits: https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
// and .../reference/api/purging/ (256 keys per purge).

import type { CdnAdapter, CdnDialect } from "../adapter.ts";
import { type ApiSettings, CdnApi, closing } from "./api.ts";

export const fastlyDialect: CdnDialect = Object.freeze({
  field: "surrogate-key",
  separator: " ",
  mostKeys: 16_384,
  mostBytes: 16_384,
  control: "surrogate-control",
});

export interface FastlyOptions {
  readonly service: string;
  /** An API token that may purge. */
  readonly token: string;
  /** Marks answers stale instead of taking them out, so that they can stand in while they are made anew. Default false. */
  readonly soft?: boolean | undefined;
  /** Default https://api.fastly.com */
  readonly api?: string | undefined;
  readonly upstream?: ApiSettings | undefined;
}

export function fastly({ service, token, soft, api: url = "https://api.fastly.com", upstream }: FastlyOptions): CdnAdapter {
  const api = new CdnApi("fastly", url, upstream);
  const headers = { "fastly-key": token, accept: "application/json", ...(soft && { "fastly-soft-purge": "1" }) };
  return {
    name: "fastly",
    dialect: fastlyDialect,
    mostKeys: 256,
    async purge(keys, signal) {
      const path = `/service/${encodeURIComponent(service)}/purge`;
      await api.send({ method: "POST", path, headers, json: { surrogate_keys: keys }, signal });
    },
    ...closing(api),
  };
}
