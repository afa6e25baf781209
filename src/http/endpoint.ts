// endpoint(): a route, its policy as plain typed data, and a handler whose input and result types follow from the policy.
// See docs/endpoints.md.

import type { IncomingHttpHeaders } from "node:http";
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";
import type { Static, TObject, TSchema } from "typebox";
import { type Duration, type OptionCheck, boolean, given, integer, parseDuration, resolveOptions, string } from "../core/index.ts";
import type { Deadline } from "../concurrency/index.ts";
import type { Database, KeysetRequest } from "../database/index.ts";
import { httpErrors } from "./errors.ts";
import type { Authenticator } from "./identity/authenticator.ts";
import type { MultipartLimits, MultipartPart } from "./multipart.ts";
import { endpointDefaults } from "./endpoint-defaults.ts";
import {
  type CacheOff,
  type CachePolicyOf,
  type EndpointCachePolicy,
  type ResolvedCachePolicy,
  resolveEndpointCache,
} from "./response-cache/policy.ts";
import { type keysetOrder, contentTypesKeyword } from "./schemas.ts";

/** HEAD comes with GET. */
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** A method and a path: `"GET /cities/:cityId/reports"`. A parameter is a whole segment. */
export type Route = `${Method} /${string}`;

/** The names of a path's parameters. */
export type PathParams<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | PathParams<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never;

/** Property schemas by name. */
export type Shape = Readonly<Record<string, TSchema>>;

type SuccessStatus = 200 | 201 | 202 | 203 | 205 | 206;

/** The answer's status and schema, and other statuses with a sentence each for the documentation. */
export type ResponseMap = { readonly [status: number]: unknown };

// The names of a shape without the symbol that keyset() adds.
type Named<S> = { [Name in keyof S as Name extends string ? Name : never]: S[Name] extends TSchema ? S[Name] : never };
type StaticShape<S> = Static<TObject<Named<S>>>;
type QueryOf<Q> = StaticShape<Q> & (Q extends { readonly [keysetOrder]: readonly string[] } ? KeysetRequest : unknown);

/** What may be returned where the schema says T: a Date where it says string, since JSON makes it one. */
export type Encodable<T> = T extends string
  ? string extends T
    ? T | Date
    : T
  : T extends readonly (infer Item)[]
    ? readonly Encodable<Item>[]
    : T extends Uint8Array | { pipe: unknown }
      ? T
      : T extends object
        ? { readonly [Key in keyof T]: Encodable<T[Key]> }
        : T;

/** What a handler returns. Without a response schema anything: JSON, text, a buffer or a stream. */
export type ResultOf<Response> = [Response] extends [undefined]
  ? unknown
  : 204 extends keyof Response
    ? void
    : [Extract<keyof Response, SuccessStatus>] extends [never]
      ? Response extends TSchema
        ? Encodable<Static<Response>>
        : never
      : Response[Extract<keyof Response, SuccessStatus>] extends infer Schema extends TSchema
        ? Encodable<Static<Schema>>
        : never;

/** What every handler gets. */
export interface HandlerTools {
  readonly db: Database;
  /** Writes lines that carry the request id. */
  readonly log: FastifyBaseLogger;
  /** Aborts at the deadline or when the client goes. Made when it is asked for; `db` needs none, it knows the deadline. */
  readonly signal: AbortSignal;
  /** When the work must end; onAbort() costs less than `signal`. */
  readonly deadline: Deadline;
  readonly requestId: string;
  readonly request: FastifyRequest;
  /** For headers and cookies. The answer itself is what the handler returns. */
  readonly reply: FastifyReply;
}

/** What a handler gets: what its policy declares, validated, and the tools. */
export type HandlerInput<Params, Query, Headers, Body, Principal> = HandlerTools & {
  readonly params: StaticShape<Params>;
  readonly query: QueryOf<Query>;
  /** The declared ones, validated; without a declaration all, as they came. */
  readonly headers: [keyof Headers] extends [never] ? IncomingHttpHeaders : StaticShape<Headers>;
  readonly body: [Body] extends [never] ? undefined : Body extends TSchema ? Static<Body> : never;
  /** The parts of a multipart body, one after the other; only with `multipart`. */
  readonly parts: AsyncIterable<MultipartPart>;
} & ([Principal] extends [never]
    ? unknown
    : {
        readonly principal: Principal;
        /** Whose tenant: what the authenticator's tenantId() says. */
        readonly tenantId: string | undefined;
      });

/** What an endpoint is and demands. Plain data: routes, OpenAPI and documentation are derived from it. */
export interface EndpointPolicy<Query, Headers, Body, Response, Principal> {
  /** The query's properties; none but these are accepted. */
  readonly query?: Query;
  /** Headers that the handler needs; others may come along. Lower-case names. */
  readonly headers?: Headers;
  /** The JSON body. Objects are closed unless their schema sets additionalProperties. */
  readonly body?: Body;
  /** The schema of a 200, or one success status with its schema: `{ 201: Report }`, `{ 204: null }`. Other statuses take a sentence. */
  readonly response?: Response;
  /** Who may call it. `principal` is what it identifies. */
  readonly auth?: Authenticator<Principal>;
  /** How long the work may take from the moment at which the request has arrived. Default "10s". "none" for long streams. */
  readonly deadline?: Duration | "none";
  /** Largest JSON body in bytes. Default: the app's, 1 MiB. */
  readonly bodyLimit?: number;
  /** Takes multipart/form-data instead of JSON, within these limits. */
  readonly multipart?: MultipartLimits;
  /** Default true. false for answers that mix a secret with what a client sends (BREACH), or that are compressed already. */
  readonly compress?: boolean;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
}

type ParamsPolicy<R extends string, Params> = [PathParams<R>] extends [never]
  ? { readonly params?: undefined }
  : { readonly params: Params };

/** An endpoint as the kit works with it. Made by endpoint(), frozen. */
export interface Endpoint {
  readonly route: Route;
  readonly method: Method;
  readonly path: string;
  readonly params: Shape | undefined;
  readonly query: Shape | undefined;
  readonly headers: Shape | undefined;
  readonly body: TSchema | undefined;
  /** Status of a success. */
  readonly status: number;
  /** Schema of a success; undefined when none was declared or there is no body. */
  readonly response: TSchema | undefined;
  /** Other statuses, with their sentences. */
  readonly otherResponses: Readonly<Record<string, string>>;
  readonly auth: Authenticator<unknown> | undefined;
  /** Infinity: none. */
  readonly deadlineMs: number;
  readonly bodyLimit: number | undefined;
  readonly multipart: MultipartLimits | undefined;
  readonly compress: boolean;
  readonly summary: string | undefined;
  readonly description: string | undefined;
  readonly tags: readonly string[];
  /** How answers are kept when the app has a cache, or why they are not. */
  readonly cache: ResolvedCachePolicy | CacheOff;
  readonly handler: (input: never) => unknown;
}

const deadlineCheck: OptionCheck<Duration | "none", number> = {
  expected: 'a duration such as "800ms" or "5s", or "none"',
  read: (value) => {
    if (value === "none") return Infinity;
    const ms = parseDuration(value);
    return ms >= 1 && ms < 2 ** 31 ? ms : undefined;
  },
};

const policyChecks = {
  params: given<Shape>("property schemas by name"),
  query: given<Shape>("property schemas by name"),
  headers: given<Shape>("property schemas by name"),
  body: given<TSchema>("a schema"),
  response: given<TSchema | ResponseMap>("a schema, or schemas by status"),
  auth: given<Authenticator<unknown>>("an authenticator, such as bearer({ … })"),
  deadline: deadlineCheck,
  bodyLimit: integer(1, 1024 ** 3),
  multipart: given<MultipartLimits>("limits"),
  compress: boolean,
  summary: string,
  description: string,
  tags: given<readonly string[]>("names"),
  cache: given<EndpointCachePolicy | false>("a policy, or false"),
};

type AnyPolicy = EndpointPolicy<Shape, Shape, TSchema, unknown, unknown> & {
  readonly params?: Shape | undefined;
  readonly cache?: EndpointCachePolicy | false;
};

const fail = (route: string, reason: string): never => {
  throw httpErrors.create("MILLRACE_HTTP_ENDPOINT_INVALID", { route, reason });
};

function readRoute(route: string): { method: Method; path: string; names: string[] } {
  const match = /^(GET|POST|PUT|PATCH|DELETE) (\/.*)$/.exec(route);
  if (!match) return fail(route, 'write the route as a method, a space and a path, such as "GET /cities/:cityId".');
  const path = match[2]!;
  const names: string[] = [];
  if (path !== "/") {
    for (const segment of path.slice(1).split("/")) {
      const parameter = /^:([A-Za-z_][A-Za-z0-9_]*)$/.exec(segment);
      if (parameter) names.push(parameter[1]!);
      else if (!/^[A-Za-z0-9._~-]+$/.test(segment))
        fail(route, `the segment "${segment}" is neither plain text nor a parameter such as :cityId.`);
    }
  }
  if (new Set(names).size < names.length) fail(route, "two parameters have the same name.");
  return { method: match[1] as Method, path, names };
}

interface ReadResponse {
  readonly status: number;
  readonly response: TSchema | undefined;
  readonly otherResponses: Readonly<Record<string, string>>;
}

function readResponse(route: string, given: unknown): ReadResponse {
  if (given === undefined) return { status: 200, response: undefined, otherResponses: {} };
  const statuses = Object.keys(given as object);
  if (statuses.length === 0 || !statuses.every((status) => /^[1-5]\d\d$/.test(status)))
    return { status: 200, response: given as TSchema, otherResponses: {} };
  const successes = statuses.filter((status) => status.startsWith("2"));
  if (successes.length !== 1) fail(route, `response names ${successes.length} success statuses, expected one.`);
  const status = Number(successes[0]);
  const otherResponses: Record<string, string> = {};
  for (const [other, sentence] of Object.entries(given as Record<string, unknown>)) {
    if (other === successes[0]) continue;
    if (typeof sentence !== "string")
      fail(route, `response ${other} is not a success, so it takes a sentence that says when it happens.`);
    otherResponses[other] = sentence as string;
  }
  const schema = (given as Record<number, TSchema | null>)[status];
  if (status === 204 && schema !== null) fail(route, "a 204 has no body: write { 204: null }.");
  return { status, response: schema ?? undefined, otherResponses };
}

/**
 * Declares an endpoint. It does nothing until an app serves it.
 * @throws MILLRACE_HTTP_ENDPOINT_INVALID, MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function endpoint<
  const R extends Route,
  const Params extends { readonly [Name in PathParams<R>]: TSchema } = { readonly [Name in PathParams<R>]: TSchema },
  const Query extends Shape = {},
  const Headers extends Shape = {},
  Body extends TSchema = never,
  Response = undefined,
  Principal = never,
>(
  route: R,
  policy: EndpointPolicy<Query, Headers, Body, Response, Principal> &
    ParamsPolicy<R, Params> &
    CachePolicyOf<R, StaticShape<Params>, QueryOf<Query>, Principal>,
  handler: (input: HandlerInput<Params, Query, Headers, Body, Principal>) => ResultOf<Response> | Promise<ResultOf<Response>>,
): Endpoint {
  const { method, path, names } = readRoute(route);
  const resolved = resolveOptions(
    `endpoint("${route}")`,
    policy as unknown as AnyPolicy,
    endpointDefaults as Partial<AnyPolicy>,
    policyChecks,
  );
  const declared = Object.keys(resolved.params ?? {});
  for (const name of names) if (!declared.includes(name)) fail(route, `the path has :${name}, but params does not declare it.`);
  for (const name of declared) if (!names.includes(name)) fail(route, `params declares ${name}, but the path has no :${name}.`);
  const takesBody = method !== "GET";
  if (resolved.body && !takesBody) fail(route, `a ${method} has no body.`);
  if (resolved.multipart && (!takesBody || resolved.body))
    fail(route, "multipart takes the place of body, and needs a method that has one.");
  for (const name of Object.keys(resolved.headers ?? {})) {
    if (name !== name.toLowerCase()) fail(route, `write the header ${name} in lower case.`);
  }
  const { deadline, response, tags, cache, ...rest } = resolved;
  const deadlineMs = deadline ?? Infinity;
  const responses = readResponse(route, response);
  return Object.freeze({
    route,
    method,
    path,
    handler,
    deadlineMs,
    tags: Object.freeze([...(tags ?? [])]),
    ...responses,
    ...rest,
    cache: resolveEndpointCache(cache, {
      route,
      isGet: method === "GET",
      auth: resolved.auth,
      mayStream: deadlineMs === Infinity || (responses.response !== undefined && contentTypesKeyword in responses.response),
      headers: Object.keys(resolved.headers ?? {}),
      deadlineMs,
    }),
    compress: rest.compress ?? true,
  });
}
