export type * from "./cache.ts";
export * from "./channels.ts";
export * from "./dependency-hash.ts";
export type * from "./ledger.ts";
export * from "./memory.ts";
export * from "./options.ts";
export type * from "./store.ts";
export * from "./versions.ts";
