export { ensureCursorSecret } from "./secret.ts";
export { type KeysetRequest, type Page, pageOf } from "./page.ts";
