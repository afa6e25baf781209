export * from "./channels.ts";
export type * from "./client.ts";
export * from "./connection.ts";
export * from "./errors.ts";
export * from "./keys.ts";
export * from "./options.ts";
export * from "./script.ts";
