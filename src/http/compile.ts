// An endpoint made ready to serve: readers and validators compiled once, when the app is created.

import { type Endpoint } from "./endpoint.ts";
import { httpErrors } from "./errors.ts";
import { type MultipartLimits, resolveMultipartLimits } from "./multipart.ts";
import { type CachePlan, createCachePlan } from "./response-cache/plan.ts";
import type { CacheOff } from "./response-cache/policy.ts";
import { contentTypesKeyword, keysetOrder } from "./schemas.ts";
import { RecordReader } from "./validation/record-reader.ts";
import { type JsonSchema, strictSchema } from "./validation/strict-schema.ts";
import { type Validate, compileValidator } from "./validation/validator.ts";

export interface CompiledEndpoint {
  readonly endpoint: Endpoint;
  readonly params: RecordReader | undefined;
  readonly query: RecordReader | undefined;
  /** The order of a list in keyset pages; undefined for other endpoints. */
  readonly orderBy: readonly string[] | undefined;
  readonly headers: RecordReader | undefined;
  readonly validateBody: Validate | undefined;
  readonly validateResponse: Validate | undefined;
  readonly multipartLimits: Required<MultipartLimits> | undefined;
  /** How its answers are kept, or why they are not. */
  readonly cachePlan: CachePlan | CacheOff;
}

/** The JSON Schema of an object with these properties, required unless optional or with a default. */
export function shapeSchema(shape: Readonly<Record<string, unknown>>, additionalProperties: boolean): JsonSchema {
  const names = Object.keys(shape);
  // TypeBox marks optional properties with a property that JSON does not see.
  const required = names.filter((name) => !("~optional" in (shape[name] as object)) && !("default" in (shape[name] as object)));
  return { type: "object", properties: { ...shape }, required, additionalProperties };
}

/** @throws MILLRACE_HTTP_ENDPOINT_INVALID when a schema cannot be compiled */
export function compileEndpoint(endpoint: Endpoint, checkResponses: boolean): CompiledEndpoint {
  const { params, query, headers, body, response, multipart, cache } = endpoint;
  try {
    return {
      endpoint,
      params: params && new RecordReader("params", shapeSchema(params, false)),
      query: query && new RecordReader("query", shapeSchema(query, false)),
      orderBy: (query as { [keysetOrder]?: readonly string[] } | undefined)?.[keysetOrder],
      headers: headers && new RecordReader("headers", shapeSchema(headers, true)),
      validateBody: body && compileValidator(strictSchema(body), "body"),
      // Bytes have no shape to check.
      validateResponse:
        checkResponses && response && !(contentTypesKeyword in response)
          ? compileValidator(strictSchema(response), "body")
          : undefined,
      cachePlan: typeof cache === "string" ? cache : createCachePlan(cache),
      multipartLimits: multipart && resolveMultipartLimits(endpoint.route, multipart),
    };
  } catch (error) {
    if (!(error instanceof Error) || "code" in error) throw error;
    throw httpErrors.create("MILLRACE_HTTP_ENDPOINT_INVALID", { route: endpoint.route, reason: error.message }, error);
  }
}
