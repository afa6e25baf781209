export * from "./channels.ts";
export * from "./dependency-hash.ts";
export * from "./memory.ts";
export * from "./options.ts";
export * from "./versions.ts";
