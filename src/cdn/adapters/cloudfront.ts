// Amazon CloudFront: a field of your choice that CacheTagConfig names, and invalidations of "#tag". Limits:
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-tags.html (50 tags per answer, case does not
// count); an invalidation of more than 1,000 paths a month costs money, and each tag is one.

import { randomUUID } from "node:crypto";
import type { CdnAdapter, CdnDialect } from "../adapter.ts";
import { type ApiSettings, CdnApi, closing } from "./api.ts";
import { type AwsCredentials, signAws } from "./aws-signature.ts";

export interface CloudFrontOptions {
  readonly distribution: string;
  readonly credentials: AwsCredentials | (() => AwsCredentials | Promise<AwsCredentials>);
  /** The field that the distribution's CacheTagConfig names. Default "cache-tag". */
  readonly field?: string | undefined;
  /** Default https://cloudfront.amazonaws.com */
  readonly api?: string | undefined;
  readonly upstream?: ApiSettings | undefined;
}

/** It reads no field of its own for the lifetime: s-maxage is for all shared caches. */
export const cloudFrontDialect = (field = "cache-tag"): CdnDialect =>
  Object.freeze({ field, separator: ",", mostKeys: 50, mostBytes: 8_192, control: "s-maxage" });

export function cloudFront(options: CloudFrontOptions): CdnAdapter {
  const { distribution, credentials, api: url = "https://cloudfront.amazonaws.com", upstream } = options;
  const api = new CdnApi("cloudfront", url, upstream);
  const { host } = new URL(url);
  return {
    name: "cloudfront",
    dialect: cloudFrontDialect(options.field?.toLowerCase()),
    mostKeys: 3_000, // paths that may be on their way at once, in all
    async purge(keys, signal) {
      const path = `/2020-05-31/distribution/${encodeURIComponent(distribution)}/invalidation`;
      const items = keys.map((key) => `<Path>#${key}</Path>`).join("");
      const body =
        `<InvalidationBatch xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><CallerReference>${randomUUID()}</CallerReference>` +
        `<Paths><Items>${items}</Items><Quantity>${keys.length}</Quantity></Paths></InvalidationBatch>`;
      const { host: _host, ...headers } = signAws(typeof credentials === "function" ? await credentials() : credentials, {
        method: "POST",
        path,
        query: "",
        headers: { host, "content-type": "text/xml" },
        body,
        region: "us-east-1", // CloudFront's only one
        service: "cloudfront",
        nowMs: Date.now(), // the API compares it with its own: no test's clock
      });
      await api.send({ method: "POST", path, headers, body, signal });
    },
    ...closing(api),
  };
}
