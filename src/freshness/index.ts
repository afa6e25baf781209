export type * from "./feed.ts";
export { dependencyNames } from "./feed.ts";
export { freshnessErrors } from "./errors.ts";
export type { Batch, CanonicalValue, Continuity, Followed, Source, SourceKind, SourceSetup, SourceStatus } from "./feed/source.ts";
