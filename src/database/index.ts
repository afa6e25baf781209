export {
  type CancelMessage,
  type EmbeddedServerMessage,
  type PipelineMovedMessage,
  type PoolMessage,
  type PoolWaitMessage,
  type QueryMessage,
  type TransactionMessage,
} from "./channels.ts";
export {
  cancelChannel,
  embeddedServerChannel,
  pipelineMovedChannel,
  poolChannel,
  poolWaitChannel,
  queryChannel,
  transactionChannel,
} from "./channels.ts";
export { type CopyOptions, copyInto } from "./copy.ts";
export { type Database, createDatabase } from "./database.ts";
export {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  type EmbeddedState,
  describeEmbedded,
  startAndKeepRunning,
  startEmbeddedPostgres,
  stopEmbedded,
} from "./embedded/index.ts";
export type { ObservedEnd, ObservedSession, ObservedStatement, StatementObserver } from "./observer.ts";
export { advisoryLockClass, advisoryLocks, enterKitSchema } from "./kit-schema.ts";
export { unobserved } from "./observer.ts";
export { databaseErrors } from "./errors.ts";
export { type DatabaseOptions, type EmbeddedOptions, type PoolOptions, databaseDefaults, poolDefaults } from "./options.ts";
export { type Lease, type MillracePool, type Pool, type RunOptions, createPool } from "./pool/pool.ts";
export type { IsolationLevel, QueryOptions, QueryResult, Queryable, Transaction, TransactionOptions } from "./queryable.ts";
export { type RenderedStatement, type SqlTag, Sql, sql } from "./sql.ts";
export {
  type ManyRelation,
  type Relation,
  type WithMany,
  type WithOne,
  jsonArray,
  jsonObject,
  loadMany,
  loadOne,
} from "./eager.ts";
export { type KeysetRequest, type Page, ensureCursorSecret, pageOf } from "./keyset/index.ts";
export { type Loader, type LoaderKey, type LoaderOptions, defineLoader, loaderDefaults } from "./loader.ts";
export {
  type AppliedMigration,
  type MigrateOptions,
  type MigrationReport,
  type MigrationTarget,
  migrate,
  migrateDefaults,
} from "./migrations.ts";
export { type MigrationMessage, migrationChannel } from "./channels.ts";
export { type ExportMessage, exportChannel } from "./channels.ts";
export {
  type ExportFormat,
  type ExportLease,
  type ExportOptions,
  type ExportStream,
  exportFrom,
  isExportStream,
} from "./export/index.ts";
export { type StreamOptions, streamRows } from "./stream.ts";
