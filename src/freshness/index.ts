export type * from "./feed.ts";
export { dependencyNames } from "./feed.ts";
