export { type CacheStatus, formatCacheStatus } from "./cache-status.ts";
export { Directives, parseDirectives, parseSurrogate, parseTargeted } from "./directives.ts";
export { Fields, type FlatFields, endToEnd, isToken, listMembers } from "./fields.ts";
export { dateOf } from "./freshness.ts";
export { formatHttpDate, parseHttpDate } from "./http-date.ts";
export { cacheGroups, formatGroups, invalidatedGroups, invalidatedUrls, isSafe } from "./invalidation.ts";
export { type RequestHead, type ResponseHead, requestDirectives } from "./messages.ts";
export * from "./options.ts";
export { type ByteRange, rangeHolds, rangeOf } from "./ranges.ts";
export { type Verdict, currentAge, remaining } from "./reuse.ts";
export { type CachingRules, createCachingRules } from "./rules.ts";
export type { Facts, Unstorable } from "./storing.ts";
export {
  type BareItem,
  type InnerList,
  type Parameters as StructuredParameters,
  type StructuredItem,
  type StructuredMember,
  parseDictionary,
  parseList,
  structuredString,
  tokenOrString,
} from "./structured-fields.ts";
export {
  conditional,
  freshened,
  isForOrigin,
  isNotModified,
  isSameByHead,
  notModifiedFields,
  unconditional,
} from "./validation.ts";
export { type Vary, normalValue, variantKey, varyOf } from "./vary.ts";
