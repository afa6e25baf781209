export * from "./store-contract.ts";
export * from "./task-history.ts";
export * from "./task-store-contract.ts";
