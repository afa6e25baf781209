// Signature Version 4 of AWS (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html), for requests
// with a body in memory.

import { createHash, createHmac } from "node:crypto";

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string | undefined;
}

export interface AwsRequest {
  readonly method: string;
  readonly path: string;
  /** Already encoded and in order. */
  readonly query: string;
  /** All of those that are sent and signed, by lower-case name; host among them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly region: string;
  readonly service: string;
  readonly nowMs: number;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** The headers to send: those that were given, with the date and the signature. */
export function signAws(credentials: AwsCredentials, request: AwsRequest): Record<string, string> {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const { method, path, query, body, region, service, nowMs } = request;
  const date = `${new Date(nowMs).toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
  const headers: Record<string, string> = {
    ...request.headers,
    "x-amz-date": date,
    ...(sessionToken !== undefined && { "x-amz-security-token": sessionToken }),
  };
  const names = Object.keys(headers).toSorted();
  const canonicalHeaders = names.map((name) => `${name}:${headers[name]!.trim().replaceAll(/ +/g, " ")}\n`).join("");
  const signed = names.join(";");
  const canonical = [method, path, query, canonicalHeaders, signed, sha256(body)].join("\n");
  const day = date.slice(0, 8);
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  const key = ["aws4_request", service, region, day].reduceRight<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const signature = createHmac("sha256", key).update(toSign).digest("hex");
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`,
  };
}
