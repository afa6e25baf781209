export * from "./context.ts";
export * from "./deadline.ts";
export * from "./errors.ts";
