export { endpointDefaults } from "./endpoint-defaults.ts";
export { type App, type ListenOptions, createApp } from "./app.ts";
export {
  type DrainMessage,
  type RequestMessage,
  type ResponseCacheMessage,
  type TokenIgnoredMessage,
  drainChannel,
  requestChannel,
  responseCacheChannel,
  tokenIgnoredChannel,
} from "./channels.ts";
export { type Endpoint, type HandlerInput, type HandlerTools, type Method, type Route, endpoint } from "./endpoint.ts";
export type { FastLaneCounts, FastLaneStatus } from "./fast-lane/fast-lane.ts";
export { httpErrors } from "./errors.ts";
export { type Authenticator, type IdentifyTools, unauthenticated } from "./identity/authenticator.ts";
export { type BearerOptions, bearer, optionalBearer } from "./identity/bearer.ts";
export { hashPassword, verifyPassword } from "./identity/password.ts";
export { createToken, hashToken, verifyToken } from "./identity/token.ts";
export type { MultipartField, MultipartFile, MultipartLimits, MultipartPart } from "./multipart.ts";
export { type OpenApiDocument, type OpenApiOptions, openApiDocument } from "./openapi/document.ts";
export { type AppOptions, type PluginOptions, appDefaults } from "./options.ts";
export { millracePlugin } from "./plugin.ts";
export { type FieldError, type ProblemDocument, type ProblemOptions, Problem, problem } from "./problem.ts";
export { type ProblemRow, problemTable } from "./problem-table.ts";
export { type KeysetOptions, type KeysetQuery, type TPage, bytes, keyset, page } from "./schemas.ts";
export {
  type CacheQuestion,
  type EndpointCachePolicy,
  type PublicCachePolicy,
  type ScopedCachePolicy,
  endpointCacheDefaults,
} from "./response-cache/policy.ts";
export { cacheHeaders } from "./response-cache/cache-status.ts";
export { type CacheTokens, freshnessTokenHeader, maxTokenLength } from "./response-cache/tokens.ts";
export { type StaticFiles, staticFiles } from "./static-files/static-files.ts";
export type { StaticFilesOptions } from "./static-files/options.ts";
