export type * from "./feed.ts";
export { dependencyNames } from "./feed.ts";
export { freshnessErrors } from "./errors.ts";
export type { Batch, CanonicalValue, Continuity, Followed, Source, SourceKind, SourceSetup, SourceStatus } from "./feed/source.ts";
export * from "./channels.ts";
export { createFeed } from "./feed/create-feed.ts";
export type { FeedOptions } from "./feed/options.ts";
