// The OpenAPI 3.1 document, derived from the endpoints: what is validated is what is documented. See docs/endpoints.md.

import { STATUS_CODES } from "node:http";
import type { TSchema } from "typebox";
import type { Endpoint } from "../endpoint.ts";
import { contentTypesKeyword } from "../schemas.ts";
import { type JsonSchema, strictSchema } from "../validation/strict-schema.ts";

/** An OpenAPI 3.1 document as plain data. */
export interface OpenApiDocument {
  readonly openapi: "3.1.0";
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>;
    readonly securitySchemes?: Readonly<Record<string, unknown>>;
  };
  readonly tags: readonly { readonly name: string }[];
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly OpenApiParameter[];
  readonly requestBody?: unknown;
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
  readonly responses: Readonly<Record<string, unknown>>;
}

export interface OpenApiParameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description?: string;
  readonly schema: unknown;
}

const problemSchema: JsonSchema = {
  type: "object",
  description: "A problem as RFC 9457 defines it.",
  required: ["type", "title", "status", "detail", "code", "requestId"],
  properties: {
    type: { type: "string", description: "Identifies the kind of problem." },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    instance: { type: "string", description: "The path that was asked for." },
    code: { type: "string", description: "Stable, for programs." },
    requestId: { type: "string", description: "Under which the log has it." },
    errors: {
      type: "array",
      items: {
        type: "object",
        required: ["in", "field", "message"],
        properties: {
          in: { enum: ["params", "query", "headers", "body"] },
          field: { type: "string" },
          message: { type: "string" },
          suggestion: { type: "string" },
        },
      },
    },
  },
};

/** `GET /cities/:cityId/reports` → `getCitiesByCityIdReports` */
function operationId({ method, path }: Endpoint): string {
  const words = path.split("/").filter(Boolean);
  const capital = (word: string) =>
    word.charAt(0).toUpperCase() + word.slice(1).replaceAll(/[^A-Za-z0-9]+(.?)/g, (_, next: string) => next.toUpperCase());
  return (
    method.toLowerCase() + words.map((word) => (word.startsWith(":") ? `By${capital(word.slice(1))}` : capital(word))).join("")
  );
}

function parameters(shape: Readonly<Record<string, TSchema>> | undefined, place: OpenApiParameter["in"]): OpenApiParameter[] {
  return Object.entries(shape ?? {}).map(([name, given]) => {
    const { description, ...schema } = strictSchema(given) as { description?: string };
    const required = place === "path" || (!("~optional" in given) && !("default" in given));
    return { name, in: place, required, ...(description !== undefined && { description }), schema };
  });
}

function successContent(endpoint: Endpoint): unknown {
  if (!endpoint.response) return undefined;
  const schema = strictSchema(endpoint.response) as Record<string, unknown>;
  const { [contentTypesKeyword]: types, ...rest } = schema;
  if (Array.isArray(types)) return Object.fromEntries((types as string[]).map((type) => [type, { schema: rest }]));
  return { "application/json": { schema } };
}

const problemResponse = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
});

const cachedHeaders = {
  ETag: { description: "Names this state of the answer, for If-None-Match.", schema: { type: "string" } },
  "Cache-Status": { description: "What the cache did (RFC 9211).", schema: { type: "string" } },
};

function responses(endpoint: Endpoint, cached: boolean): Record<string, unknown> {
  const content = successContent(endpoint);
  const takesInput = endpoint.params ?? endpoint.query ?? endpoint.headers ?? endpoint.body ?? endpoint.multipart;
  return {
    [endpoint.status]: {
      description: STATUS_CODES[endpoint.status] ?? "Success",
      ...(cached && { headers: cachedHeaders }),
      ...(content !== undefined && { content }),
    },
    ...(cached && { 304: { description: "The client has this state already: If-None-Match names its ETag." } }),
    ...(takesInput && { 400: problemResponse("Something in the request is not valid; `errors` names the fields.") }),
    ...(endpoint.auth && { 401: problemResponse("The credentials are missing or not valid.") }),
    ...Object.fromEntries(Object.entries(endpoint.otherResponses).map(([status, sentence]) => [status, problemResponse(sentence)])),
    default: problemResponse("Any other problem."),
  };
}

function requestBody(endpoint: Endpoint): unknown {
  if (endpoint.body) return { required: true, content: { "application/json": { schema: strictSchema(endpoint.body) } } };
  return endpoint.multipart && { required: true, content: { "multipart/form-data": { schema: { type: "object" } } } };
}

function operation(endpoint: Endpoint, withCache: boolean): OpenApiOperation {
  const { summary, description, tags, auth } = endpoint;
  const all = [
    ...parameters(endpoint.params, "path"),
    ...parameters(endpoint.query, "query"),
    ...parameters(endpoint.headers, "header"),
  ];
  const body = requestBody(endpoint);
  const cached = withCache && typeof endpoint.cache !== "string";
  return {
    operationId: operationId(endpoint),
    ...(summary !== undefined && { summary }),
    ...(description !== undefined && { description }),
    ...(tags.length > 0 && { tags }),
    ...(all.length > 0 && { parameters: all }),
    ...(body !== undefined && { requestBody: body }),
    ...(auth && { security: [...(auth.optional ? [{}] : []), { [auth.scheme.name]: [] }] }),
    responses: responses(endpoint, cached),
  };
}

export interface OpenApiOptions {
  /** Where the plugin was registered. Default: at the root. */
  readonly prefix?: string;
  /** Whether the app has a cache: what it keeps can be asked for with If-None-Match. Default false. */
  readonly cached?: boolean;
}

/** The document for `endpoints`. */
export function openApiDocument(
  endpoints: readonly Endpoint[],
  info: { readonly title: string; readonly version: string },
  { prefix = "", cached = false }: OpenApiOptions = {},
): OpenApiDocument {
  const paths: Record<string, Record<string, OpenApiOperation>> = {};
  const securitySchemes: Record<string, unknown> = {};
  const tags = new Set<string>();
  for (const endpoint of endpoints) {
    const path = prefix + endpoint.path.replaceAll(/:([A-Za-z0-9_]+)/g, "{$1}");
    (paths[path] ??= {})[endpoint.method.toLowerCase()] = operation(endpoint, cached);
    if (endpoint.auth) securitySchemes[endpoint.auth.scheme.name] = endpoint.auth.scheme.definition;
    for (const tag of endpoint.tags) tags.add(tag);
  }
  return {
    openapi: "3.1.0",
    info: { title: info.title, version: info.version },
    paths,
    components: { schemas: { Problem: problemSchema }, ...(Object.keys(securitySchemes).length > 0 && { securitySchemes }) },
    tags: [...tags].map((name) => ({ name })),
  };
}
