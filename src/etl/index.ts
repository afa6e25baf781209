export * from "./channels.ts";
export { type RejectedRow } from "./child/rejects.ts";
export { type ColumnTypes } from "./column-types.ts";
export * from "./errors.ts";
export { type EtlResult, etl } from "./etl.ts";
export {
  type EtlOptions,
  type EtlSource,
  type FileTarget,
  type Loaded,
  type ModuleTransform,
  type TableTarget,
  etlDefaults,
} from "./options.ts";
export type { EtlProgress } from "./protocol.ts";
export type { EtlRow, TransformFunction, TransformTools } from "./transform.ts";
