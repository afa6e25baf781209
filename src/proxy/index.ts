export * from "./channels.ts";
export { type Proxy, type ProxyAddress, type ProxyStats, createProxy } from "./create-proxy.ts";
export * from "./errors.ts";
export { type ProxyOptions } from "./options.ts";
