// Bearer tokens in the Authorization header (RFC 6750). See docs/identity.md.

import type { FastifyRequest } from "fastify";
import { type Authenticator, type IdentifyTools, unauthenticated } from "./authenticator.ts";

export interface BearerOptions<Principal> {
  /** Looks the token up; null when it is unknown, expired or revoked. Store tokens hashed (hashToken) and look up the hash. */
  readonly identify: (token: string, tools: IdentifyTools) => Principal | null | Promise<Principal | null>;
  /** A stable identifier of the principal for logs and limits. */
  readonly principalId: (principal: Principal) => string;
  /** A stable identifier of the principal's tenant, for cached answers of scope "tenant". */
  readonly tenantId?: (principal: Principal) => string | undefined;
  /** The realm of the challenge. Default "api". */
  readonly realm?: string;
}

/** b64token of RFC 6750 § 2.1; four times our own tokens, and enough for a JWT of 4 KiB. */
const credentials = /^bearer +([A-Za-z0-9\-._~+/]{1,4096}=*) *$/i;

const definition = { type: "http", scheme: "bearer" } as const;

/** What a request's credentials come to: nothing given, nothing known by it, or a principal. */
function createBearer<Principal>(options: BearerOptions<Principal>) {
  const realm = (options.realm ?? "api").replaceAll(/[^\w .:/-]/g, "");
  // RFC 6750 § 3.1: no error code when the request has no credentials at all.
  const missing = `Bearer realm="${realm}"`;
  const invalid = `${missing}, error="invalid_token"`;

  const refuse = (): never => {
    throw unauthenticated("The token is not valid, or not valid any more.", invalid);
  };
  const accept = (principal: Principal | null): Principal => principal ?? refuse();
  const identify = (authorization: string, tools: IdentifyTools): Principal | Promise<Principal> => {
    const token = credentials.exec(authorization)?.[1];
    if (token === undefined) return refuse();
    const found = options.identify(token, tools);
    return found instanceof Promise ? found.then(accept) : accept(found);
  };
  const isBearer = (authorization: string | undefined): authorization is string =>
    authorization !== undefined && /^bearer\b/i.test(authorization);
  return { missing, identify, isBearer };
}

/** Identifies by bearer token and refuses every other request with a 401. The principal is what `identify` finds. */
export function bearer<Principal>(options: BearerOptions<Principal>): Authenticator<Principal> {
  const { missing, identify, isBearer } = createBearer(options);
  return Object.freeze({
    scheme: { name: "bearer", definition },
    optional: false,
    identify(request: FastifyRequest, tools: IdentifyTools) {
      const { authorization } = request.headers;
      if (!isBearer(authorization)) throw unauthenticated("This needs a bearer token in the Authorization header.", missing);
      return identify(authorization, tools);
    },
    principalId: options.principalId,
    ...(options.tenantId && { tenantId: options.tenantId }),
  });
}

/** As bearer(), but a request without a token passes, with the principal null. A wrong token is refused all the same. */
export function optionalBearer<Principal>(options: BearerOptions<Principal>): Authenticator<Principal | null> {
  const { identify, isBearer } = createBearer(options);
  const { tenantId } = options;
  return Object.freeze({
    scheme: { name: "bearer", definition },
    optional: true,
    identify(request: FastifyRequest, tools: IdentifyTools) {
      const { authorization } = request.headers;
      return isBearer(authorization) ? identify(authorization, tools) : null;
    },
    principalId: (principal: Principal | null) => (principal === null ? undefined : options.principalId(principal)),
    ...(tenantId && { tenantId: (principal: Principal | null) => (principal === null ? undefined : tenantId(principal)) }),
  });
}
