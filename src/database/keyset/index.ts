export { pageOf } from "./page.ts";
export type { KeysetRequest, Page } from "./request.ts";
export { ensureCursorSecret } from "./secret.ts";
