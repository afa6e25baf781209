export * from "./channels.ts";
export * from "./clock.ts";
export * from "./duration.ts";
export * from "./error-table.ts";
export * from "./errors.ts";
export * from "./lifecycle.ts";
export * from "./options.ts";
export * from "./suggestion.ts";
