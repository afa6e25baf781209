// The root door: everything, under one name. Each capability also has a door of its own (millrace/database, millrace/http, …).

export * from "./cache/index.ts";
export * from "./cdn/index.ts";
export * from "./concurrency/index.ts";
export * from "./core/index.ts";
export * from "./database/index.ts";
export * from "./etl/index.ts";
export * from "./freshness/index.ts";
export * from "./http/index.ts";
export * from "./tasks/index.ts";
export * from "./http-caching/index.ts";
export * from "./proxy/index.ts";
export * from "./upstream/index.ts";
export * from "./redis/index.ts";
