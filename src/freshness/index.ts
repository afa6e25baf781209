export type * from "./feed.ts";
export { dependencyNames } from "./feed.ts";
export { freshnessErrors } from "./errors.ts";
export type { Batch, CanonicalValue, Continuity, Followed, Source, SourceKind, SourceSetup, SourceStatus } from "./feed/source.ts";
export * from "./channels.ts";
export { createFeed } from "./feed/create-feed.ts";
export type { FeedOptions } from "./feed/options.ts";
export { canonicalParameter, canonicalValue, followableTypes } from "./dependencies/index.ts";
export { createStatementPlans, loadCatalogue, namesOf } from "./dependencies/index.ts";
export type { Catalogue, CatalogueSource, ReadDependency, ReadPlan } from "./dependencies/index.ts";
export type { StatementPlan, StatementPlans, StatementResult, WritePlan } from "./dependencies/index.ts";
export {
  type FreshnessAdminOptions,
  type FreshnessStatus,
  freshnessSetup,
  freshnessStatus,
  freshnessTeardown,
  invalidateInLog,
  withAdminSession,
} from "./admin.ts";
export {
  type ControlAnswer,
  type ControlHandlers,
  type ControlQuestion,
  type ControlSession,
  ask,
  createControl,
} from "./control.ts";
export { type Freshness, type FreshnessTokens, createFreshness } from "./create-freshness.ts";
export { type FreshnessOptions, freshnessDefaults } from "./options.ts";
export { readToken, tokenKey, writeToken } from "./token.ts";
