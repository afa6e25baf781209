export { type ExportLease, type ExportStream, exportFrom, isExportStream } from "./export-stream.ts";
export type { ExportFormat, ExportOptions } from "./options.ts";
