// Who is calling: the contract that every way of identifying a principal fulfils. See docs/identity.md.

import type { FastifyBaseLogger, FastifyRequest } from "fastify";
import type { Database } from "../../database/index.ts";
import { httpErrors } from "../errors.ts";

/** What identification may use. */
export interface IdentifyTools {
  readonly db: Database;
  readonly log: FastifyBaseLogger;
}

/** A way of identifying who calls. bearer() is one; write others against this. */
export interface Authenticator<Principal> {
  /** Its name and OpenAPI security scheme, for the document. */
  readonly scheme: { readonly name: string; readonly definition: Readonly<Record<string, unknown>> };
  /** Whether a request without credentials passes too; the principal is then null. */
  readonly optional: boolean;
  /**
   * The principal of `request`. Runs before the body is read, under the endpoint's deadline. Returns synchronously when it can.
   * @throws MILLRACE_HTTP_UNAUTHENTICATED, made by unauthenticated()
   */
  identify(request: FastifyRequest, tools: IdentifyTools): Principal | Promise<Principal>;
  /** A stable, short identifier for logs and for limits; no secret. */
  principalId(principal: Principal): string | undefined;
  /** A stable identifier of the tenant that the principal belongs to: whom cached answers of scope "tenant" are for. */
  tenantId?(principal: Principal): string | undefined;
}

/** The error with which identify() refuses. `challenge` is the WWW-Authenticate header (RFC 9110 § 11.6.1). */
export function unauthenticated(reason: string, challenge: string): Error {
  return httpErrors.create("MILLRACE_HTTP_UNAUTHENTICATED", { reason, challenge });
}
