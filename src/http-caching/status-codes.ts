// Status codes as caches see them.

/** May be kept without a word about freshness (RFC 9110 § 15.1), but for 206, which is kept as a part only. */
const heuristicallyCacheable = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);

export const isHeuristicallyCacheable = (status: number): boolean => heuristicallyCacheable.has(status);

/** Codes whose requirements for caches this engine knows and meets: those of RFC 9110 that are final, but for 206 and 304. */
const understood = new Set([
  ...heuristicallyCacheable,
  ...[201, 202, 205, 302, 303, 307, 400, 401, 402, 403, 406, 408, 409, 411, 412, 413, 415, 416, 417, 421, 422, 426],
  ...[500, 502, 503, 504, 505],
]);

export const isUnderstood = (status: number): boolean => understood.has(status);
