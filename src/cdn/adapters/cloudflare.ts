// Cloudflare: Cache-Tag, and purges by tag. Limits: https://developers.cloudflare.com/cache/how-to/purge-cache/ (100 tags per purge) and
// .../purge-by-tags/ (16 KB and 1,000 tags per answer, case does not count). How many purges a second depends on the plan.

import type { CdnAdapter, CdnDialect } from "../adapter.ts";
import { type ApiSettings, CdnApi, closing } from "./api.ts";

export const cloudflareDialect: CdnDialect = Object.freeze({
  field: "cache-tag",
  separator: ",",
  mostKeys: 1_000,
  mostBytes: 16_000, // 16 KB, in whichever way it is counted
  control: "cdn-cache-control",
});

export interface CloudflareOptions {
  readonly zone: string;
  /** An API token with the right Zone.Cache Purge. */
  readonly token: string;
  /** Default https://api.cloudflare.com/client/v4 */
  readonly api?: string | undefined;
  readonly upstream?: ApiSettings | undefined;
}

export function cloudflare(options: CloudflareOptions): CdnAdapter {
  const { zone, token, api: url = "https://api.cloudflare.com/client/v4", upstream } = options;
  const api = new CdnApi("cloudflare", url, upstream);
  return {
    name: "cloudflare",
    dialect: cloudflareDialect,
    mostKeys: 100,
    async purge(keys, signal) {
      const path = `/zones/${encodeURIComponent(zone)}/purge_cache`;
      const text = await api.send({
        method: "POST",
        path,
        headers: { authorization: `Bearer ${token}` },
        json: { tags: keys },
        signal,
      });
      // 200 alone is no success: the document says so.
      if (!/"success"\s*:\s*true/.test(text)) throw api.refused(200, text);
    },
    ...closing(api),
  };
}
