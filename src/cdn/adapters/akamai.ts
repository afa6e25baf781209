// Akamai: Edge-Cache-Tag, and Fast Purge by tag. Limits: https://techdocs.akamai.com/purge-cache/docs/purge-content-cache-tag (128 tags
// of 128 characters per answer; 8,192 characters in all) and 50,000 bytes per purge.

import { randomUUID } from "node:crypto";
import type { CdnAdapter, CdnDialect } from "../adapter.ts";
import { type ApiSettings, CdnApi, closing } from "./api.ts";
import { type EdgeGridCredentials, edgeGridAuthorization } from "./edgegrid.ts";

export const akamaiDialect: CdnDialect = Object.freeze({
  field: "edge-cache-tag",
  separator: ",",
  mostKeys: 128,
  mostBytes: 8_192,
  control: "cdn-cache-control",
});

export interface AkamaiOptions extends EdgeGridCredentials {
  /** Default "production". */
  readonly network?: "production" | "staging" | undefined;
  /** "invalidate" marks answers stale, "delete" takes them out. Default "invalidate", as Akamai advises. */
  readonly action?: "invalidate" | "delete" | undefined;
  /** Default https:// and the credentials' host. */
  readonly api?: string | undefined;
  readonly upstream?: ApiSettings | undefined;
}

export function akamai(options: AkamaiOptions): CdnAdapter {
  const { network = "production", action = "invalidate", api: url = `https://${options.host}`, upstream } = options;
  const api = new CdnApi("akamai", url, upstream);
  const { protocol, host } = new URL(url);
  return {
    name: "akamai",
    dialect: akamaiDialect,
    mostKeys: 1_000, // 16 bytes each: well below 50,000
    async purge(keys, signal) {
      const path = `/ccu/v3/${action}/tag/${network}`;
      const body = JSON.stringify({ objects: keys });
      const authorization = edgeGridAuthorization(options, {
        method: "POST",
        scheme: protocol === "http:" ? "http" : "https",
        host,
        path,
        body,
        nowMs: Date.now(), // the API compares it with its own: no test's clock
        nonce: randomUUID(),
      });
      await api.send({ method: "POST", path, headers: { authorization, "content-type": "application/json" }, body, signal });
    },
    ...closing(api),
  };
}
