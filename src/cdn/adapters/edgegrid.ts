// EdgeGrid, the signature of Akamai's APIs (EG1-HMAC-SHA256, https://techdocs.akamai.com/developer/docs/authenticate-with-edgegrid).

import { createHash, createHmac } from "node:crypto";

export interface EdgeGridCredentials {
  /** akab-….luna.akamaiapis.net */
  readonly host: string;
  readonly clientToken: string;
  readonly clientSecret: string;
  readonly accessToken: string;
}

export interface EdgeGridRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly path: string;
  readonly body: string;
  readonly nowMs: number;
  /** Used once: a UUID. */
  readonly nonce: string;
}

/** Bytes of a body that are signed. */
const mostSignedBytes = 131_072;

const hmac = (key: string, text: string): string => createHmac("sha256", key).update(text).digest("base64");

/** 20260101T12:00:00+0000 */
const timestampOf = (ms: number): string => `${new Date(ms).toISOString().replaceAll("-", "").slice(0, 17)}+0000`;

/** The Authorization header. */
export function edgeGridAuthorization(credentials: EdgeGridCredentials, request: EdgeGridRequest): string {
  const { clientToken, clientSecret, accessToken } = credentials;
  const timestamp = timestampOf(request.nowMs);
  const tokens = `client_token=${clientToken};access_token=${accessToken}`;
  const unsigned = `EG1-HMAC-SHA256 ${tokens};timestamp=${timestamp};nonce=${request.nonce};`;
  const signedBody = Buffer.from(request.body).subarray(0, mostSignedBytes);
  const contentHash =
    request.method === "POST" && signedBody.length > 0 ? createHash("sha256").update(signedBody).digest("base64") : "";
  // The empty part: headers that are signed, none.
  const data = [request.method, request.scheme, request.host.toLowerCase(), request.path, "", contentHash, unsigned].join("\t");
  return `${unsigned}signature=${hmac(hmac(clientSecret, timestamp), data)}`;
}
