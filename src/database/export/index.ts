export { type ExportLease, type ExportStream, exportFrom } from "./export-stream.ts";
export type { ExportFormat, ExportOptions } from "./options.ts";
