export type { AllowPrivate } from "./addresses.ts";
export type { AttemptKind, AttemptReport } from "./attempt.ts";
export type { BreakerState } from "./breaker.ts";
export * from "./channels.ts";
export * from "./errors.ts";
export type { UpstreamOptions } from "./options.ts";
export type { QueryValue, UpstreamRequest } from "./request.ts";
export type { Resolve, ResolvedAddress } from "./resolver.ts";
export { type Upstream, type UpstreamResponse, type UpstreamStats, type ValueCheck, createUpstream } from "./upstream.ts";
