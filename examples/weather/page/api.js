// Questions to the API. An answer comes with what its headers say of its age; a failure is an answer, too.

const tokenKey = "weather.token";

/** What the last thing that this page has written demands of answers: see Freshness-Token in the API's documentation. */
let freshnessToken;

export const session = {
  get token() {
    return sessionStorage.getItem(tokenKey) ?? undefined;
  },
  set token(token) {
    if (token === undefined) sessionStorage.removeItem(tokenKey);
    else sessionStorage.setItem(tokenKey, token);
  },
};

/** Why there was no answer at all. */
const unreachable = { code: "UNREACHABLE", detail: "The service cannot be reached." };

/**
 * `{ ok, status, body, receivedMs, age, cacheStatus, retryAfterMs }`. A failure's body is a problem document. Rejects only when `signal` aborts.
 */
export async function ask(path, { method = "GET", body, signed = false, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (signed && session.token) headers["authorization"] = `Bearer ${session.token}`;
  if (freshnessToken) headers["freshness-token"] = freshnessToken;
  let response;
  let text;
  try {
    response = await fetch(path, { method, headers, signal, ...(body && { body: JSON.stringify(body) }) });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    return { ok: false, status: 0, body: unreachable, receivedMs: Date.now() };
  }
  freshnessToken = response.headers.get("freshness-token") ?? freshnessToken;
  const retryAfter = Number(response.headers.get("retry-after"));
  return {
    ok: response.ok,
    status: response.status,
    body: readJson(text),
    receivedMs: Date.now(),
    age: Number(response.headers.get("age") ?? 0),
    cacheStatus: response.headers.get("cache-status") ?? undefined,
    retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : undefined,
  };
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** What to tell people of a failure: its sentence, and one for each field that is not right. */
export const sentences = ({ body }) => {
  const fields = (body.errors ?? []).map(({ field, message }) => `${field} ${message}`);
  return fields.length > 0 ? fields : [body.detail ?? "Something went wrong."];
};
